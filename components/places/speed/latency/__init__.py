"""Size, measured speed, their limits, and exports."""
