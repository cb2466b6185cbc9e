"""Learn: the lesson."""
