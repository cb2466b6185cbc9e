"""A whole grid of runs."""
