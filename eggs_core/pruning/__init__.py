"""Pruning: scores, channel orders, reconstruction, and the one loop that they all go through."""
