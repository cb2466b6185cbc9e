"""What packed models are called in files."""

FORMAT = "eggs-packed-nm"
VERSION, ROUNDED = "1", "2"  # of files whose values are floats, and of those in which some are rounded to a grid
TABLES = "3"  # of those whose embedding is rounded too
VERSIONS = (VERSION, ROUNDED, TABLES)  # that are read
FILE = "model.eggs.safetensors"  # the packed file's name inside a folder
METHOD = "eggs-nm"  # the quantisation method that config.json names
