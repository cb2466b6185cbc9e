"""Speed: size and latency."""
