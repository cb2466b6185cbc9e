"""Recovery of the run in view."""
