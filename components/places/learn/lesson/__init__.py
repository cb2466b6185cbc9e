"""The lesson: steps on one matrix that is pruned by hand."""
