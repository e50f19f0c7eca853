"""Tables of profiles, by format: in as a stream of rows, out as parquet."""
