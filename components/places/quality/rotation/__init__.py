"""The rotation of the run in view."""
