"""A run as one HTML page that needs nothing else, and as JSON; no gradio here."""

import json
from dataclasses import asdict

import plotly.graph_objects as go

from components.charts.layers import layer_chart
from components.charts.sizes import size_bars
from components.charts.speeds import speed_bars
from components.places.quality.breakdown.figures import cost_chart, drift_chart
from components.places.quality.breakdown.view import breakdown
from components.places.quality.perplexity.figures import perplexity_forest, window_scatter
from components.places.quality.perplexity.tables import accuracy_table
from components.places.quality.tasks.figures import task_chart
from components.places.quality.tasks.view import task_pairs
from components.places.quality.tasks.words import task_table
from components.places.quality.texts.view import text_rows
from components.places.quality.texts.words import texts_table
from components.state.results import RESULTS, Results
from components.widgets.assets import ASSETS, plotly
from components.words.html import escape
from components.words.labels import run_label
from components.words.layer_table import layer_table
from components.words.recorded import NOT_MEASURED, facts, made_with
from components.words.run import overview_cards, overview_reading
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.runs.patterns import pattern_words
from eggs_core.runs.run import Run

STYLE = """
:root { --body-text-color: #1f2328; --body-text-color-subdued: #59636e; --border-color-primary: #d1d9e0;
  --background-fill-secondary: #f6f8fa; --block-background-fill: #fff; --background-fill-primary: #fff; }
body { font: 16px/1.55 system-ui, sans-serif; color: #1f2328; max-width: 1080px; margin: 32px auto; padding: 0 20px; }
h1 { margin-bottom: 4px; } h2 { margin-top: 40px; } code { overflow-wrap: anywhere; }
pre { background: #f6f8fa; padding: 12px 14px; border-radius: 8px; white-space: pre-wrap; }
table { border-collapse: collapse; font-size: 14px; } th, td { border-bottom: 1px solid #d1d9e0;
  padding: 5px 12px 5px 0; text-align: left; } .wide { overflow-x: auto; } .lesson-link { display: none; }
"""


def report_json(run: Run, runs: list[Run], results: Results = RESULTS, texts: Results | None = None) -> str:
    """Everything that was measured of a run in this process: its report, the methods beside it, tasks, texts, parts."""
    evaluation = run.report["evaluation"]
    others = [
        {
            "method": run_label(other),
            "key": other.key,
            "perplexity": other.report["evaluation"]["pruned"]["perplexity"],
            "against_this": paired_ratio(
                evaluation["pruned"]["window_nats"], other.report["evaluation"]["pruned"]["window_nats"]
            ).to_dict(),
        }
        for other in runs
        if other.key != run.key
    ]
    parts = breakdown(run, results)
    values = {
        "command": run.config.command_line(),
        "report": run.report,
        "methods": others,
        "tasks": [{"dense": dense.to_dict(), "pruned": pruned.to_dict()} for dense, pruned in task_pairs(run, results)],
        "texts": text_rows(run, texts or results),
        "breakdown": parts
        and {
            "windows": parts[0],
            "blocks": [asdict(d) for d in parts[1]],
            "parts": [asdict(p) for p in parts[2]],
        },
    }
    return json.dumps(values, indent=1, allow_nan=False)


def report_html(run: Run, runs: list[Run], results: Results = RESULTS, texts: Results | None = None) -> str:
    """The same as a page with pictures that can be zoomed without a network; all text is escaped."""
    label, report = run_label(run), run.report
    title = f"{report['model']} pruned to {pattern_words(report)} by {label}"
    sections = _sections(run, runs, results, texts)
    body = "".join(f'<h2>{name}</h2><div class="wide">{part}</div>' for name, part in sections)
    command = run.config.command_line()
    values = escape(report_json(run, runs, results, texts))
    sheet = (ASSETS / "css" / "app.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{sheet}{STYLE}</style>'
        f"<script>{plotly().text}</script></head><body><h1>{escape(title)}</h1>{facts(run)}"
        f"{overview_cards(run)}{overview_reading(run, label)}"
        f"<h2>Repeat it</h2><pre>{escape(command)}</pre><p>{escape(made_with(report))} "
        f"The same configuration gives the same masks; run {escape(run.key)}.</p>{body}"
        f"<h2>Everything, as JSON</h2><details><summary>report.json</summary><pre>{values}</pre></details>"
        "</body></html>"
    )


def _sections(run: Run, runs: list[Run], results: Results, texts: Results | None) -> list[tuple[str, str]]:
    """Headings with their HTML; what was not measured has none."""
    label, latency = run_label(run), run.report.get("latency")
    table = accuracy_table(runs, results).to_html(index=False, border=0)
    sections = [("Perplexity", table + _chart(perplexity_forest(runs)) + _chart(window_scatter(run)))]
    if rows := text_rows(run, texts or results):
        sections.append(("Other texts", texts_table(run, rows)))
    if pairs := task_pairs(run, results):
        sections.append(("Zero-shot tasks", _chart(task_chart(pairs, label), 300) + task_table(pairs, label)))
    speed = f"<p>Decode speed: {NOT_MEASURED}.</p>"
    if latency:
        speed = _chart(speed_bars(latency, "decode_tokens_per_s"), 220)
    sections.append(("Size and speed", _chart(size_bars(run), 260) + speed))
    layers = layer_table(run).to_html(index=False, border=0)
    sections.append(("Layers", _chart(layer_chart(run, "spectral_gap")) + layers))
    if found := breakdown(run, results):
        kinds = [cost_chart([p for p in found[2] if p.kind == kind], label) for kind in ("block", "projection")]
        sections.append(("Where it breaks", "".join(_chart(c) for c in (drift_chart(found[1], label), *kinds))))
    return sections


def _chart(figure: go.Figure, height: int = 380) -> str:
    figure.update_layout(template="plotly_white", height=height)
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
