"""Layers: masks, graphs and spectra."""
