"""Terms, phrases and sentences that several places share; no gradio here."""
