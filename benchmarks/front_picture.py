"""The fronts as one picture: perplexity against bits a weight, a panel for every model."""

from collections.abc import Sequence
from pathlib import Path

from eggs_core.evaluation.front import LLAMA_CPP, Front, Point, highest

LOOKS = {  # what a point is -> (colour, marker)
    "every weight in few bits": ("#0072b2", "s"),
    "pruned, in few bits": ("#d55e00", "o"),
    "llama.cpp": ("#009e73", "D"),
}
TOP = 1.4  # times the dense perplexity up to which points are drawn, see `highest`


def look_of(point: Point) -> str:
    """Which of LOOKS a point has."""
    return list(LOOKS)[1 if point.pruned else 2 if point.maker == LLAMA_CPP else 0]


def draw(fronts: Sequence[Front], path: Path) -> None:
    """Write the picture; names stand beside pruned points and those of llama.cpp."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(fronts), figsize=(4.6 * len(fronts), 4.2), squeeze=False, layout="constrained")
    for front, axis in zip(fronts, axes.flat, strict=True):
        shown = [p for p in front.points if p.perplexity <= highest(front, TOP)]
        for kind, (color, marker) in LOOKS.items():
            own = sorted((p for p in shown if look_of(p) == kind), key=lambda p: p.bits)
            alone = kind == next(iter(LOOKS))
            xs, ys = [p.bits for p in own], [p.perplexity for p in own]
            axis.plot(xs, ys, linestyle="-" if alone else "none", marker=marker, color=color, label=kind, markersize=5)
            for point in () if alone else own:
                where = (4, 4) if point.pruned else (2, -9)
                spot = point.bits, point.perplexity
                axis.annotate(point.name, spot, where, textcoords="offset points", fontsize=6, color=color)
        low, high = min(p.perplexity for p in shown), max(p.perplexity for p in shown)
        ticks = [float(f"{low * (high / low) ** (k / 4):.3g}") for k in range(5)]
        axis.set(title=front.model, xlabel="bits a weight", ylabel="perplexity (log scale)", yscale="log")
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_yticks([], minor=True)
        axis.set_xscale("log")
        axis.set_xticks([2, 3, 4, 6, 8, 16], ["2", "3", "4", "6", "8", "16"])
        axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=7)
    figure.savefig(path, dpi=110)
