"""Runs come back from disk as they were, and a damaged one is a sentence, never a traceback."""

import json
import os

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from eggs_core import runs as module
from eggs_core.errors import EggsError
from eggs_core.masks import pack_bits, topn
from eggs_core.pattern import NMPattern
from eggs_core.run_folder import COMMITTED
from eggs_core.runs import MASKS, REPORT, Run, load_run, save_run

SHAPES = {"a.q": (6, 12), "a.up": (5, 8), "b.q": (3, 20)}


def make_run(seed: int = 0) -> Run:
    draw = torch.Generator().manual_seed(seed)
    masks = {name: topn(torch.rand(*s, generator=draw), NMPattern(2, 4)) for name, s in SHAPES.items()}
    report = {
        "key": f"{seed:016x}", "model": "m", "pattern": "2:4", "method": "ria", "seed": seed,
        "layers": [{"name": n, "shape": list(s), "σ₂": 0.5} for n, s in SHAPES.items()], "evaluation": {}, "size": {},
    }  # fmt: skip
    packed = {n: pack_bits(m) for n, m in masks.items()}
    topn_masks = {n: pack_bits(~m) for n, m in masks.items()}
    return Run(report, packed, topn_masks, {"a.q": torch.randperm(12, generator=draw)})


def test_round_trip(tmp_path):
    run = make_run()
    save_run(run, tmp_path / "deep" / "run")
    back = load_run(tmp_path / "deep" / "run")
    assert back.report == run.report
    assert back.key == run.key
    for name, shape in SHAPES.items():
        assert back.mask(name).shape == shape
        assert torch.equal(back.mask(name), run.mask(name))
        assert torch.equal(back.topn_mask(name), ~run.mask(name))
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
        for name in SHAPES:
            assert np.array_equal(file.get_tensor(name), np.packbits(run.mask(name).numpy(), axis=1))


def test_a_run_without_extras(tmp_path):
    full = make_run()
    save_run(Run(full.report, full.packed_masks), tmp_path / "run")
    back = load_run(tmp_path / "run")
    assert back.permutations == {}
    assert torch.equal(back.topn_mask("a.q"), back.mask("a.q"))


def test_saving_again_replaces_the_run_and_nothing_else(tmp_path):
    save_run(make_run(0), tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    second = make_run(1)
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

    monkeypatch.setattr(module, "save_file", full)
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
    save_run(Run(third.report, third.packed_masks), tmp_path / "run")
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
    with pytest.raises(EggsError, match=r"has no masks\.safetensors"):
        load_run(tmp_path / "run")
    with pytest.raises(EggsError, match="no layer 'c'"):
        make_run().mask("c")


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"model": 1}', "{", "\x00", '{"model":1,"pattern":2,"method":3,"seed":4,"layers":5,'
     '"evaluation":6,"size":7}', '{"model":1,"pattern":2,"method":3,"seed":4,"layers":["a"],"evaluation":6,"size":7}'],
)  # fmt: skip
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
        assert "damaged" in problem
    if junk is None and cut < len(data) - 1:
        assert problem is not None
