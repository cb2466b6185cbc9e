"""The plan: which pattern each layer gets."""
