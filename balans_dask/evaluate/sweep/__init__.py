"""A grid of settings, each scored on a sample of rows."""
