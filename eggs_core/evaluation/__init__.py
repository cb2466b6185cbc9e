"""What a model can still do: perplexity, tasks, tokens, and where pruning does its harm."""
