"""Whole runs: corrections of stores, arrays and AnnData objects; preprocessing, export, screens."""
