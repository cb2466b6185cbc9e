"""Gradio components of our own, and their scripts."""
