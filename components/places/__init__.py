"""The places of the page; they never import each other."""
