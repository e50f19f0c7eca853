"""Experiments of the paper, one file each; `run_all` runs them."""
