"""Reading and writing: AnnData on Zarr, tables, and stores that are complete or not there."""
