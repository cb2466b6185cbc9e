"""Expander graph: a layer's mask as a graph."""
