"""Phrases that several sentences share."""

NO_TOPN = "top-N was not recorded with this run"


def plural(count: int, name: str) -> str:
    """A number with its noun, for example 1 input, 2 inputs."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"
