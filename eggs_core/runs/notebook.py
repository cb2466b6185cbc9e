"""A run as a notebook shows it: its figures, and the output error of every layer as a picture."""

from collections.abc import Sequence
from html import escape

from eggs_core.config import PruneConfig
from eggs_core.report_types import LayerEntry, Report
from eggs_core.runs.layer_rows import cells_of, has_experts
from eggs_core.runs.patterns import pattern_words
from eggs_core.units import size

WIDTH, HEIGHT = 640, 120  # pixels of the picture
HEAD = "<th style='text-align:left'>"
BAR = "#0072B2"  # of the colour-blind-safe palette of Okabe and Ito


def as_html(report: Report, ratio: float) -> str:
    """A table and an SVG picture, without scripts; every text of the report is escaped.

    `ratio` is the pruned model's perplexity over that of the dense one.
    """
    scores, space, latency = report["evaluation"], report["size"], report["latency"]
    dense, pruned = scores["dense"], scores["pruned"]
    rows = [
        ("perplexity", f"{dense['perplexity']:.2f}", f"{pruned['perplexity']:.2f}", f"× {ratio:.3f}"),
        ("next token right", f"{dense['top1']:.1%}", f"{pruned['top1']:.1%}", ""),
        (
            "bytes, zeros stored → packed",
            size(space["dense_bytes"]),
            size(space["packed_bytes"]),
            f"× {space['packed_bytes'] / space['dense_bytes']:.3f}",
        ),
    ]
    if latency is not None:
        rates = [latency[side]["decode_tokens_per_s"]["median"] for side in ("dense", "packed")]
        rows.append(("tokens per second", f"{rates[0]:.1f}", f"{rates[1]:.1f}", f"× {rates[1] / rates[0]:.2f}"))
    body = "".join(f"<tr>{HEAD}{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    title = (
        f"{report['model']}, pruned to {pattern_words(report)} by {PruneConfig.from_dict(report['config']).in_words()}"
    )
    return (
        f"<p><b>{escape(title)}</b><br>{escape(scores['text'])}: {scores['windows']} windows of {scores['window']} "
        f"tokens; key <code>{escape(report['key'])}</code></p>"
        f"<table><thead><tr><th></th><th>dense</th><th>pruned</th><th></th></tr></thead><tbody>{body}</tbody></table>"
        f"{_errors(report['layers'])}"
    )


def _errors(layers: Sequence[LayerEntry]) -> str:
    """A bar for each layer's relative output error, in the model's order."""
    cells = cells_of(layers)
    errors = [cell.mean(lambda layer: layer["output_error"]) for cell in cells]
    highest, step, bars = max(errors, default=0) or 1, WIDTH / max(len(cells), 1), []
    for number, (cell, error) in enumerate(zip(cells, errors, strict=True)):
        high, gap = HEIGHT * error / highest, cell.mean(lambda layer: layer["spectral_gap"])
        about = f"{cell.name}: output error {error:.3f}, spectral gap {gap:.3f}"
        bars.append(
            f'<rect x="{number * step:.1f}" y="{HEIGHT - high:.1f}" width="{max(step - 1, 0.5):.1f}" '
            f'height="{high:.1f}" fill="{BAR}"><title>{escape(about)}</title></rect>'
        )
    label = "Relative output error of every layer, in the order of the model"
    label += ", experts of a block as one by their mean" if has_experts(cells) else ""
    return (
        f'<p>{label}; the highest is {highest:.3f}.</p><svg role="img" aria-label="{label}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width:{WIDTH}px;width:100%">{"".join(bars)}</svg>'
    )
