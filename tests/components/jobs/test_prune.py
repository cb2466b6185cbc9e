"""A run as the page watches it: progress, layers as they come, and a stop that harms nothing."""

from functools import partial

import pytest
import torch

from components.jobs import prune as prune_jobs
from components.jobs.messages import bar
from components.jobs.prune import partial_run, prune_work
from components.jobs.queue import Waiting
from components.state.known_runs import bundled_runs
from components.state.workspace import Workspace
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.masks.selection import check_mask
from eggs_core.runs import execute
from eggs_core.text.sources import Text

LAYERS = 14


run_job = partial(prune_jobs.run_job, redraw_seconds=-1.0)  # every layer redraws, however fast it came


@pytest.fixture
def make_config(make_run):
    """The configurations of the small model's runs, with changes."""

    def change(method: str = "ria", pattern: str = "2:4", **options) -> PruneConfig:
        return PruneConfig.from_dict({**make_run(method, pattern).report["config"], **options})

    return change


def hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())


def test_a_partial_run_is_a_run_without_layers(make_config):
    run = partial_run(make_config())
    assert run.key == make_config().key()
    assert run.report["layers"] == []
    assert run.report["config"] == make_config().to_dict()


def test_layers_appear_while_it_runs_and_the_finished_run_stays(follow, micro, store, make_config):
    workspace, seen = Workspace(), []
    for html, redraw in run_job(follow, workspace, make_config(), {}):
        assert html
        if redraw:
            seen.append((len(workspace.run.report["layers"]), workspace.finished))
    assert [count for count, finished in seen if not finished] == list(range(1, LAYERS + 1))
    assert seen[-1] == (LAYERS, True)
    assert workspace.own == {make_config().key(): workspace.run}
    for layer in workspace.run.report["layers"]:
        check_mask(workspace.run.mask(layer["name"]), make_config().pattern, layer["name"])


def test_progress_only_grows(follow, micro, store, make_config):
    shares = []
    for html, _ in run_job(follow, Workspace(), make_config(), {}):
        if "progressbar" in html:
            shares.append(float(html.split("width:")[1].split("%")[0]))
    assert shares == sorted(shares)
    assert len(shares) > LAYERS


def test_few_redraws_when_layers_come_fast(follow, micro, store, make_config):
    steps = prune_jobs.run_job(follow, Workspace(), make_config(), {}, redraw_seconds=1e9)
    redraws = [redraw for _, redraw in steps]
    assert sum(redraws) == 1  # the end


def stop_after(job, layers: int) -> None:
    """Close a job, as Stop does, once so many layers were drawn."""
    for _, redraw in job:
        layers -= redraw
        if layers == 0:
            job.close()
            return
    raise AssertionError("the job ended before it was stopped")


def test_a_stop_keeps_the_finished_layers_and_leaves_no_hooks(follow, micro, store, make_config, monkeypatch):
    copies, real = [], execute.prune_steps
    monkeypatch.setattr(execute, "prune_steps", lambda model, *rest: copies.append(model) or real(model, *rest))
    workspace, dense = Workspace(), micro.model
    before = [p.detach().clone() for p in dense.parameters()]
    stop_after(run_job(follow, workspace, make_config(), {}), 5)

    assert not workspace.finished
    assert len(workspace.run.report["layers"]) == 5
    assert set(workspace.run.packed_masks) == {layer["name"] for layer in workspace.run.report["layers"]}
    assert workspace.layer_report()["name"] == workspace.layer
    assert workspace.own == {}
    assert len(copies) == 1
    assert hooks(dense) == hooks(copies[0]) == 0
    assert all(torch.equal(a, b) for a, b in zip(before, dense.parameters(), strict=True))


def test_after_a_stop_the_next_run_is_whole(follow, micro, store, make_config, make_run):
    workspace = Workspace()
    stop_after(run_job(follow, workspace, make_config("magnitude"), {}), 2)
    list(run_job(follow, workspace, make_config(), {}))
    assert workspace.finished
    assert workspace.run.report["method"] == "ria"
    whole = make_run("ria")
    for layer in whole.report["layers"]:
        assert torch.equal(workspace.run.mask(layer["name"]), whole.mask(layer["name"]))


def test_two_jobs_in_turn_fill_their_own_workspaces(follow, micro, store, make_config, make_run):
    workspaces = [Workspace(), Workspace()]
    going = [
        run_job(follow, w, make_config(method, pattern), {})
        for w, method, pattern in zip(workspaces, ("ria", "magnitude"), ("1:4", "3:4"), strict=True)
    ]
    while going:
        going = [job for job in going if next(job, None) is not None]
    for workspace, method, pattern in zip(workspaces, ("ria", "magnitude"), ("1:4", "3:4"), strict=True):
        whole = make_run(method, pattern)
        assert workspace.run.report["pattern"] == pattern
        for layer in whole.report["layers"]:
            assert torch.equal(workspace.run.mask(layer["name"]), whole.mask(layer["name"]))


def test_what_cannot_run_is_one_sentence_and_the_view_stays(follow, micro, store, make_config, make_run):
    workspace, shown = Workspace(), make_run("ria")
    workspace.show(shown)
    with pytest.raises(EggsError, match=r"layer model\.layers\.0\.self_attn\.q_proj"):
        list(run_job(follow, workspace, make_config(pattern="5:7"), {}))
    name = "text:short"
    with pytest.raises(EggsError, match="fewer than one window"):
        list(run_job(follow, workspace, make_config(calibration=name), {name: Text("your text", "too short")}))
    assert workspace.run is shown
    assert workspace.finished


def test_a_place_in_the_queue_is_told_with_the_wait_where_that_is_known():
    assert "3 jobs ahead of you, about 40 s" in bar(Waiting(3, 40.2))
    assert "1 job ahead of you<" in bar(Waiting(1, None)) and "1 job ahead of you<" in bar(Waiting(1, 0.2))
    assert bar(({}, "a result")) == ""


def test_equal_configurations_are_the_same_work_with_the_time_that_the_shipped_run_took():
    shipped = bundled_runs()[0]
    config = PruneConfig.from_dict(shipped.report["config"])
    one, two = (prune_work(config, {}) for _ in range(2))
    assert one.key == two.key and one.expected == shipped.report["seconds"]["total"]
    assert prune_work(PruneConfig.from_dict(config.to_dict() | {"seed": 5}), {}).key != one.key
