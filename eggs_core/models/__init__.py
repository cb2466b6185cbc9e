"""Language models: where they are, what their files hold, how they are opened, where their layers lie."""
