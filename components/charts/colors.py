"""A method's colour and symbol, the same in every figure."""

from collections.abc import Iterable

from components.words.labels import method_in

# The same colour for the same method everywhere (Okabe and Ito's palette, safe for the colour-blind).
COLORS = {
    "Dense": "#8A8F98",
    "Magnitude": "#7E57C2",
    "Wanda": "#E69F00",
    "RIA": "#56B4E9",
    "RIA + CP": "#0072B2",
    "SparseGPT": "#CC79A7",
    "EGGS-PTP": "#009E73",
    "EGGS-PTP + CP": "#44BB99",
    "EGGS-PTP+": "#D55E00",
    "EGGS-PTP+ fit": "#A4432B",
}

SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon", "hexagon")

OTHER = "#B79F00"

TONES = (0.0, 0.55, -0.4, 0.3, -0.2)  # of a method's variants


def color(label: str) -> str:
    """A method's colour, which its plans and options share."""
    return COLORS.get(method_in(label), OTHER)


def shades(labels: Iterable[str]) -> dict[str, str]:
    """A colour for each of the labels that stand side by side: variants of a method are lighter or darker than it.

    The shortest label of a method, which says of no option, has the method's own colour.
    """
    found: dict[str, str] = {}
    for label in sorted(set(labels), key=lambda label: (len(label), label)):
        variants = sum(color(other) == color(label) for other in found)
        found[label] = _toned(color(label), TONES[variants % len(TONES)])
    return found


def _toned(hue: str, tone: float) -> str:
    """A colour mixed with so much white or, below 0, black."""
    parts = (int(hue[start : start + 2], 16) for start in (1, 3, 5))
    aim = 255 if tone > 0 else 0
    return "#" + "".join(f"{round(part + abs(tone) * (aim - part)):02X}" for part in parts)


def ink(hue: str) -> str:
    """Black or white, whichever is easier to read on a colour (WCAG 2.2, relative luminance)."""
    shares = [int(hue[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "#000000" if luminance > 0.179 else "#FFFFFF"
