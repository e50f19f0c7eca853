"""Arithmetic on arrays: numpy and numba only, one tile of rows at a time."""
