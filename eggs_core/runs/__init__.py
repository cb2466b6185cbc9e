"""Whole runs: from a configuration to a report, kept on disk, opened again, exported."""
