"""Speed, quality and experiments of balans_dask; README.md says how to run each."""
