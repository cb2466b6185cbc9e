"""Home: what pruning did, at a glance."""
