"""Spectrum: how well layers mix information."""
