"""Whole runs: a store, arrays or an AnnData object in, the corrected one out."""
