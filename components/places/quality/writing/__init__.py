"""Models that write side by side."""
