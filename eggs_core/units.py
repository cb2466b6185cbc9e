"""Quantities for people."""


def size(count: float) -> str:
    """Bytes for people, for example 13.8 MB; a kB is 1000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def many(count: float) -> str:
    """A large number for people, for example 135 M or 1.5 B."""
    return f"{count / 1e6:.0f} M" if round(count / 1e6) < 1000 else f"{count / 1e9:.1f} B"


def rate(value: float) -> str:
    """Times a second for people, with three digits below a thousand, for example 276, 18.0 or 1.41."""
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f}"


def seconds(value: float) -> str:
    """A duration for people, for example 1 min 20 s."""
    if round(value) < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
