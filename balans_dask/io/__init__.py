"""Reading and writing on disks and in buckets: stores, tables, models, the folder of a run."""
