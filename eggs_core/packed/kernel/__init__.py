"""The C kernel for products with packed weights: its source, its compiler and its calls."""
