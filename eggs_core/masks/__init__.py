"""Masks: which N of every M weights are kept, and how masks are stored."""
