"""Maps and reductions over partitions: each file is one pass over the data."""
