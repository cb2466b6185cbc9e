"""Runs: all that were made, and comparisons."""
