"""Perplexity on other texts."""
