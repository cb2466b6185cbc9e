"""A run in a notebook."""

import copy
import dataclasses
from xml.etree import ElementTree

from components.state.known_runs import bundled_runs


def parsed(run) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{run._repr_html_().replace('<br>', '<br/>')}</div>")


def test_a_run_shows_its_figures_and_a_bar_for_each_layer():
    run = bundled_runs()[0]
    shown = parsed(run)
    text = "".join(shown.itertext())
    assert f"{run.report['evaluation']['pruned']['perplexity']:.2f}" in text and run.key in text
    assert run.report["pattern"] in text and f"× {run.ratio:.3f}" in text
    assert len(list(shown.iter("rect"))) == len(run.report["layers"])


def test_names_from_a_report_are_escaped():
    run = bundled_runs()[0]
    run = dataclasses.replace(run, report=copy.deepcopy(run.report))
    run.report["model"] = "<script>alert(1)</script>"
    run.report["layers"][0]["name"] = "</title><img src=x onerror=alert(1)>"
    assert "<script" not in run._repr_html_() and "<img" not in run._repr_html_()
    assert "<script>alert(1)</script>" in "".join(parsed(run).itertext())
