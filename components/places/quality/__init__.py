"""Quality: accuracy before and after, in every way it can be asked for."""
