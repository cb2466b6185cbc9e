"""What a visitor looks at and what is known of runs; no gradio here."""
