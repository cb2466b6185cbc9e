"""What does structure cost? Perplexity at the same share of weights, from 2:4 to whole rows."""
