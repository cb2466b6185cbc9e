"""Phrases that several sentences share."""

NO_TOPN = "top-N was not recorded with this run"
EVEN = 0.03  # ratios this near to 1 are called equal


def even(ratio: float) -> bool:
    """Is a ratio of two times or rates too near to 1 to be called a gain or a loss?"""
    return abs(ratio - 1) < EVEN


def speed_beside(other: str, ratio: float) -> str:
    """A ratio of two speeds in words, for example 1.41 × as fast as dense."""
    if even(ratio):
        return f"as fast as {other} ({ratio:.2f} ×)"
    return f"{ratio:.2f} × as fast as {other}" if ratio > 1 else f"slower than {other}, {ratio:.2f} × its speed"


def plural(count: int, name: str) -> str:
    """A number with its noun, for example 1 input, 2 inputs."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"
