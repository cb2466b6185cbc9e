"""A method's colour and symbol, the same in every figure."""

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
}

SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon", "hexagon")

OTHER = "#B79F00"


def color(label: str) -> str:
    """A method's colour, which its plans share."""
    return COLORS.get(method_in(label), OTHER)
