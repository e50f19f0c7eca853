"""``python -m balans_dask`` is the command line."""

from balans_dask.cli import main

main()
