"""Sweeps: a grid of runs, computed on one machine or a cluster, and what its results say."""
