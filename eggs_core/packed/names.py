"""What packed models are called in files."""

FORMAT, VERSION = "eggs-packed-nm", "1"
FILE = "model.eggs.safetensors"  # the packed file's name inside a folder
METHOD = "eggs-nm"  # the quantisation method that config.json names
