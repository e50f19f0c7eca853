"""What benchmarks share: findings, plots, screens, scores, hosts, other methods."""
