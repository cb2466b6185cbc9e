"""Masks: the map of the model, and a layer's mask."""
