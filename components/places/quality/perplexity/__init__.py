"""Perplexity of all comparable methods."""
