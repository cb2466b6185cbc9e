"""A pattern for each layer: painted, or the best for a budget."""
