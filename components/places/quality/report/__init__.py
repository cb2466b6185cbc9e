"""A report to download."""
