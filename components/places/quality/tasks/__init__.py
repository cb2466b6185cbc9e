"""Zero-shot tasks."""
