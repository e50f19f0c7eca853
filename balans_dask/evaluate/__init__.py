"""Scores of corrections beside raw profiles and null models, and the sweep over settings."""
