"""A model that answers: opened by a run's name, asked in the terminal or over HTTP."""
