"""Dask begins here: passes over partitions, the engine that runs them, the plan of their memory."""
