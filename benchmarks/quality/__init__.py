"""Quality of corrections on real profiles and mixtures."""
