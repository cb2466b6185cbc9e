"""Packed models: only kept weights and their positions, in memory and in one file."""
