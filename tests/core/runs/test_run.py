"""Runs come back from disk as they were, and a damaged one is a sentence, never a traceback."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import SHAPES, made_up_run
from safetensors import safe_open

from eggs_core.errors import EggsError
from eggs_core.masks.disk_use import MOST_TOPN, keeps_topn, needed_bytes
from eggs_core.pattern import NMPattern
from eggs_core.runs import run as module
from eggs_core.runs.folder import COMMITTED, MASKS, REPORT
from eggs_core.runs.run import Run, load_run, save_run

ROOT = Path(__file__).resolve().parents[3]


def make_run(seed: int = 0) -> Run:
    return made_up_run(f"{seed:016x}", seed=seed)


def test_round_trip(tmp_path):
    run = make_run()
    save_run(run, tmp_path / "deep" / "run")
    back = load_run(tmp_path / "deep" / "run")
    assert back.report == run.report
    assert back.key == run.key
    for name, shape in SHAPES.items():
        assert back.mask(name).shape == shape
        assert torch.equal(back.mask(name), run.mask(name))
        assert torch.equal(back.topn_mask(name), run.topn_mask(name)) and back.has_topn
    assert back.permutations.keys() == {"a.q"}
    assert back.permutations["a.q"].dtype == torch.int64
    assert torch.equal(back.permutations["a.q"], run.permutations["a.q"])


def test_the_files_are_as_documented(tmp_path):
    run = make_run()
    save_run(run, tmp_path / "run")
    assert json.loads((tmp_path / "run" / REPORT).read_text(encoding="utf-8")) == run.report
    with safe_open(tmp_path / "run" / MASKS, framework="np") as file:
        assert json.loads(file.metadata()["shapes"]) == {n: list(s) for n, s in SHAPES.items()}
        assert set(file.keys()) == set(SHAPES)
    page = (ROOT / "docs" / "masks-format.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, found := {})
    for name in SHAPES:
        assert np.array_equal(found["read_mask"](str(tmp_path / "run"), name), run.mask(name).numpy())
        best = found["read_mask"](str(tmp_path / "run"), name, topn=True)
        assert np.array_equal(best, run.topn_mask(name).numpy())
    shipped = ROOT / "assets" / "runs" / "tiny-llama-2of4-ria-cp"
    name = load_run(shipped).report["layers"][5]["name"]
    assert np.array_equal(found["read_mask"](str(shipped), name), load_run(shipped).mask(name).numpy())


def test_a_run_without_extras(tmp_path):
    full = made_up_run("1", permuted=False)
    save_run(Run(full.report, full.packed_masks), tmp_path / "run")
    back = load_run(tmp_path / "run")
    assert back.permutations == {} and not back.has_topn
    with pytest.raises(EggsError, match=r"top-N keeps in a\.q was not recorded"):
        back.topn_mask("a.q")


def test_saving_again_replaces_the_run_and_nothing_else(tmp_path):
    save_run(make_run(0), tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    second = made_up_run("1", seed=1, permuted=False)
    save_run(Run(second.report, second.packed_masks), tmp_path / "run")
    back = load_run(tmp_path / "run")
    assert back.report["seed"] == 1
    assert back.permutations == {}
    assert torch.equal(back.mask("a.up"), second.mask("a.up"))
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_run(make_run(), ".")
    assert load_run(".").key == make_run().key


def test_a_failed_save_leaves_the_older_run_and_no_litter(tmp_path, monkeypatch):
    save_run(make_run(0), tmp_path / "run")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(EggsError, match="No space left on device"):
        save_run(make_run(1), tmp_path / "run")
    assert load_run(tmp_path / "run").report["seed"] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_report_with_nan_is_not_saved(tmp_path):
    run = make_run()
    run.report["evaluation"] = {"perplexity": float("nan")}
    with pytest.raises(ValueError, match="JSON"):
        save_run(run, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("crashes_at", "seed"), [(COMMITTED, 0), (MASKS, 1), (REPORT, 1)])
def test_a_crash_leaves_the_run_before_or_the_run_after(tmp_path, monkeypatch, crashes_at, seed):
    save_run(make_run(0), tmp_path / "run")
    replace = os.replace

    def crash(source, target):
        if str(target).endswith(crashes_at):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_run(make_run(1), tmp_path / "run")
    monkeypatch.undo()
    back = load_run(tmp_path / "run")
    assert back.report == make_run(seed).report
    assert torch.equal(back.mask("a.up"), make_run(seed).mask("a.up"))
    third = make_run(2)
    save_run(Run(third.report, third.packed_topn), tmp_path / "run")
    assert load_run(tmp_path / "run").report["seed"] == 2 and load_run(tmp_path / "run").permutations == {}
    assert {p.name for p in (tmp_path / "run").iterdir()} == {REPORT, MASKS, "details.safetensors"}


def test_two_people_who_make_the_same_run(tmp_path, monkeypatch):
    """The folder appears between the look and the move; the second one must not fail."""
    exists = module.Path.exists
    save_run(make_run(0), tmp_path / "run")
    monkeypatch.setattr(module.Path, "exists", lambda self: self.name != "run" and exists(self))
    save_run(make_run(0), tmp_path / "run")
    monkeypatch.undo()
    assert load_run(tmp_path / "run").key == make_run(0).key
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(EggsError, match="could not be saved"):
        save_run(make_run(), tmp_path / "file")
    with pytest.raises(EggsError, match="cannot be saved"):
        save_run(make_run(), tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "keep me"


def test_missing_things_are_named(tmp_path):
    with pytest.raises(EggsError, match=r"report\.json is missing"):
        load_run(tmp_path / "nowhere")
    save_run(make_run(), tmp_path / "run")
    (tmp_path / "run" / MASKS).unlink()
    with pytest.raises(EggsError, match=r"masks\.safetensors is missing"):
        load_run(tmp_path / "run")
    with pytest.raises(EggsError, match="no layer 'c'"):
        make_run().mask("c")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"model": 1}',
        "{",
        "\x00",
        '{"model":1,"pattern":2,"method":3,"seed":4,"layers":5,"evaluation":6,"size":7}',
        '{"model":1,"pattern":2,"method":3,"seed":4,"layers":["a"],"evaluation":6,"size":7}',
    ],
)
def test_a_damaged_report_is_a_sentence(tmp_path, text):
    save_run(make_run(), tmp_path / "run")
    (tmp_path / "run" / REPORT).write_text(text)
    with pytest.raises(EggsError, match="damaged"):
        load_run(tmp_path / "run")


def test_masks_of_another_shape_are_damage(tmp_path):
    save_run(make_run(), tmp_path / "run")
    report = json.loads((tmp_path / "run" / REPORT).read_text())
    report["layers"][0]["shape"] = [6, 20]
    (tmp_path / "run" / REPORT).write_text(json.dumps(report))
    assert "damaged" in load_error(tmp_path / "run")


def load_error(folder) -> str | None:
    try:
        load_run(folder)
    except EggsError as error:
        return str(error)
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([REPORT, MASKS, "details.safetensors"]),
    st.floats(0, 1),
    st.none() | st.binary(min_size=1, max_size=12),
)
def test_cut_off_and_overwritten_files(tmp_path, name, share, junk):
    """Whatever happened to the bytes: a run of the right shapes, or an EggsError."""
    folder = tmp_path / "run"
    save_run(make_run(), folder)
    data = (folder / name).read_bytes()
    cut = int(share * len(data))
    damaged = data[:cut] if junk is None else data[:cut] + junk + data[cut + len(junk) :]
    (folder / name).write_bytes(damaged)
    problem = load_error(folder)
    if problem is None:
        run = load_run(folder)
        for layer in run.report["layers"]:
            assert list(run.mask(layer["name"]).shape) == layer["shape"]
    else:
        assert "damaged" in problem or "another version" in problem  # the encoding's name may be what was hit
    if junk is None and cut < len(data) - 1:
        assert problem is not None


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
def test_the_needed_disk_is_known_before_and_never_too_small(tmp_path, pattern):
    shapes = {f"model.layers.{i}.mlp.down_proj": (256, 512) for i in range(20)}
    run = made_up_run("1", pattern, shapes)
    save_run(run, tmp_path / "run")
    written = sum(f.stat().st_size for f in (tmp_path / "run").iterdir())
    need = needed_bytes(shapes, NMPattern.parse(pattern))
    assert written <= need < written + 600_000


def test_topn_is_kept_up_to_a_billion_weights():
    most = [(10**5, 10**4)]
    assert keeps_topn(most) and not keeps_topn([*most, (1, 8)]) and MOST_TOPN == 10**9
    large, pattern = [(8192, 8192)] * 15, NMPattern(2, 4)  # 1.007 billion
    shapes = {str(number): shape for number, shape in enumerate(large)}
    assert needed_bytes(shapes, pattern) < 15 * 8192 * (8192 / 12 + 1) + 15 * 8192 * 4 + 300_000
