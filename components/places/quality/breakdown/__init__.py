"""Where pruning does its harm."""
