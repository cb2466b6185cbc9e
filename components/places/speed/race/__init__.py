"""A race of two models that write."""
