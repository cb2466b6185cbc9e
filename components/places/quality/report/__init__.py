"""A report to take along."""
