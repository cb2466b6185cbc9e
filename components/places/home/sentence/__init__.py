"""Home: one sentence, continued by a model dense and pruned, and a tile of masks that moves."""
