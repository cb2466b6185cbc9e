"""The pruned model as a file."""
