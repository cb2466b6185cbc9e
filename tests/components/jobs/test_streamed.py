"""A model beyond the memory in the app: its own progress, figures without a speed, and reasons for what is missing."""

import pytest

from components.jobs.prune import run_job
from components.places.quality.report.page import report_html
from components.places.speed.latency.tab import _drawn
from components.state.workspace import Workspace
from components.words.run import overview_cards
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.runs import streamed as streamed_run
from eggs_core.runs.measured_speed import measure_speed

SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 3, "evaluation_length": 32}


def test_a_model_beyond_the_memory_runs_and_is_shown(follow, monkeypatch, small_folder):
    monkeypatch.setattr(streamed_run, "free_memory", lambda _device: 100_000)
    workspace, config = Workspace(), make_config(str(small_folder), "2:4", "magnitude", **SMALL)
    said = [html for html, _ in run_job(follow, workspace, config, {})]
    assert any("Streaming block 3 of 3" in html for html in said)
    assert any("block by block from disk" in html for html in said)
    run = workspace.run
    assert workspace.finished and f"lies in {run.report['checkpoint']}" in said[-1]
    assert "not measured: the model is larger than memory" in overview_cards(run)
    assert "No speed was measured with this run" in "".join(str(part) for part in _drawn(run, None))
    assert "Size and speed" in report_html(run, [run])
    with pytest.raises(EggsError, match="larger than memory and was pruned block by block"):
        next(measure_speed(run))
    again = [html for html, _ in run_job(follow, Workspace(), config, {})]
    assert "kept since then" in again[-1], "the stored run answers without opening the model"
