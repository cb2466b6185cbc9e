"""Overview: cards, one sentence and one chart."""
