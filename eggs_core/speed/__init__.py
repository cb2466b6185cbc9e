"""Measured time, dense against packed, always in alternation."""
