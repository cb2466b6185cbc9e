"""Accuracy: methods against the dense model, tasks, tokens, texts side by side, where it breaks, and a report."""

from functools import partial
from typing import Any

import gradio as gr

from components.jobs.events import FINISHED, finish
from components.places.quality.breakdown.tab import create_breakdown_panel
from components.places.quality.perplexity.tab import create_perplexity_panel
from components.places.quality.recovery.tab import create_recovery_panel
from components.places.quality.report.tab import create_report_panel
from components.places.quality.rotation.tab import create_rotation_panel
from components.places.quality.tasks.tab import create_tasks_panel
from components.places.quality.texts.tab import create_texts_panel
from components.places.quality.tokens import tab as tokens
from components.places.quality.writing import tab as writing
from components.state.workspace import Workspace
from components.tab import Tab, joined

DRAWN_WHEN_OPENED = {tokens.SECTION, writing.SECTION}  # they read a file, and show much


def create_accuracy_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab."""
    with gr.Tabs(elem_id="accuracy-sections"):
        with gr.Tab("Perplexity", id="perplexity"):
            panels = [create_perplexity_panel(), create_texts_panel(state)]
        for name, key, create in (
            ("Rotation", "rotation", create_rotation_panel),
            ("Recovery", "recovery", create_recovery_panel),
            ("Zero-shot tasks", "tasks", create_tasks_panel),
            ("Token by token", tokens.SECTION, tokens.create_tokens_panel),
            ("Side by side", writing.SECTION, writing.create_writing_panel),
            ("Where it breaks", "breakdown", create_breakdown_panel),
            ("Report", "report", create_report_panel),
        ):
            with gr.Tab(name, id=key) as section:
                panels.append(panel := create(state))
            if key in DRAWN_WHEN_OPENED:
                section.select(partial(_open, key, panel), state, panel.outputs, **FINISHED)
    return joined(panels)


def _open(key: str, panel: Tab, workspace: Workspace) -> list[Any]:
    if workspace.section == key:
        return finish(panel.outputs, {})
    workspace.section = key
    return workspace.drawn(lambda: finish(panel.outputs, panel.render(workspace)))
