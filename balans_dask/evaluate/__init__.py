"""Scores of a correction; nothing below imports this."""
