"""Texts, and the windows of tokens that calibration and evaluation read."""
