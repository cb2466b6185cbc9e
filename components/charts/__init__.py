"""Figures and colours that several places share; no gradio here."""
