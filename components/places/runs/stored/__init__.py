"""Every finished run, to find, open, name and compare."""
