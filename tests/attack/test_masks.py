"""Broken masks: whatever the bytes, a run whose every group keeps N of M, or one sentence that names the layer."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import damaged_bytes, fuzz, only_sentences
from hypothesis import given
from hypothesis import strategies as st
from made_up import LIKE, SHAPES, made_up_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from eggs_core import files
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.files import DiskFull, check_disk
from eggs_core.masks.bits import pack_bits
from eggs_core.masks.codes import ENCODING, bytes_per_row, pack_masks, unpack_masks
from eggs_core.masks.selection import check_mask, topn
from eggs_core.models.dense_models import ModelCache
from eggs_core.models.loading import LoadedModel
from eggs_core.pattern import NMPattern
from eggs_core.registry import METHODS
from eggs_core.runs.events import Finished, LayerDone
from eggs_core.runs.execute import execute
from eggs_core.runs.folder import DETAILS, MASKS
from eggs_core.runs.run import Run, load_run, save_run

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "runs"
EIGHTS = {"a.q": (6, 16), "a.up": (5, 8), "b.q": (3, 24)}
FORMS = {"codes": ("2:4", SHAPES), "bits": ("4:8", EIGHTS)}
NAME = "a.q"


def keeps_its_pattern(run: Run) -> None:
    """Counted here once more, in the order of each layer's groups."""
    pattern = NMPattern.parse(run.report["pattern"])
    assert run.packed_masks.keys() == {layer["name"] for layer in run.report["layers"]}
    for name, bits in run.packed_masks.items():
        mask, order = run.mask(name), run.permutations.get(name)
        check_mask(mask if order is None else mask[:, order], pattern, name)
        assert torch.equal(pack_bits(mask), bits), "bits behind the last column"
        if run.has_topn:
            check_mask(run.topn_mask(name), pattern, name)


@pytest.fixture(scope="module", params=list(FORMS))
def stored(request, tmp_path_factory) -> Path:
    """A run as it is stored, as codes and as bits."""
    pattern, shapes = FORMS[request.param]
    place = tmp_path_factory.mktemp("masks") / request.param
    save_run(made_up_run("aa11", pattern, shapes), place)
    return place


@pytest.mark.parametrize("file", [MASKS, DETAILS])
@fuzz
@given(data=st.data())
def test_files_with_damaged_bytes(stored, tmp_path, file, data):
    folder = tmp_path / "run"
    shutil.copytree(stored, folder, dirs_exist_ok=True)
    (folder / file).write_bytes(data.draw(damaged_bytes((stored / file).read_bytes())))
    with only_sentences():
        keeps_its_pattern(load_run(folder))


def harmed(stored: Path, tmp_path: Path, file: str, key: str, harm, metadata: dict | None = None) -> Path:
    """A copy of a stored run with one tensor changed by `harm`, which may give another one or None for none."""
    folder = tmp_path / "run"
    shutil.copytree(stored, folder)
    with safe_open(folder / file, "pt") as opened:
        about = opened.metadata()
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / file).items()}
    tensors[key] = harm(tensors.get(key))
    found = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(found, folder / file, metadata=about if metadata is None else metadata)
    return folder


def flipped(bits: torch.Tensor) -> torch.Tensor:
    bits[0, 0] ^= 64
    return bits


SHIPPED = {"in its own order": "tiny-llama-2of4-sparsegpt", "permuted": "tiny-llama-2of4-ria-cp"}
BROKEN = {"all ones": lambda b: b.fill_(255), "all zeros": lambda b: b.fill_(0), "one bit flipped": flipped}


@pytest.mark.parametrize("file", [MASKS, DETAILS])
@pytest.mark.parametrize("order", SHIPPED)
@pytest.mark.parametrize("harm", BROKEN)
def test_bits_that_break_their_pattern_are_refused(tmp_path, file, order, harm):
    name = "model.layers.0.self_attn.q_proj"
    key = name if file == MASKS else f"{name}.topn"
    folder = harmed(ASSETS / SHIPPED[order], tmp_path, file, key, BROKEN[harm])
    with pytest.raises(EggsError, match=rf"the mask of {name} breaks 2:4 in \d+ of 9216 groups.*run it again"):
        load_run(folder)


@pytest.mark.parametrize(
    ("pattern", "shapes", "harm", "says"),
    [
        ("2:4", SHAPES, lambda c: c.fill_(216), "holds a code that stands for no group of 2:4"),
        ("2:4", SHAPES, lambda c: c[:, :0], r"has the shape \(6, 0\)"),
        ("2:4", SHAPES, lambda c: c.to(torch.int8), "has the shape"),
        ("2:4", {NAME: (6, 8)}, lambda c: c.fill_(36), "holds a code"),  # a third group in a row of two
        ("2:4", SHAPES, lambda c: None, "is missing"),
        ("4:12", {NAME: (6, 12)}, lambda b: b | 1, "bits set behind its last column"),
        ("4:8", EIGHTS, lambda b: b.float(), "does not unpack"),
    ],
)
def test_what_no_mask_is_stored_as_is_refused(tmp_path, pattern, shapes, harm, says):
    save_run(made_up_run("aa11", pattern, shapes, permuted=False), tmp_path / "whole")
    with pytest.raises(EggsError, match=says):
        load_run(harmed(tmp_path / "whole", tmp_path, MASKS, NAME, harm))


@pytest.mark.parametrize(
    ("file", "key", "harm", "says"),
    [
        (MASKS, "stranger", lambda _: torch.zeros(1, dtype=torch.uint8), "'stranger' belongs to no layer"),
        (DETAILS, "stranger.topn", lambda _: torch.zeros(1), r"'stranger\.topn', which belongs to no layer"),
        (DETAILS, "x", lambda _: torch.zeros(1), "'x', which belongs to no layer"),
        (DETAILS, f"{NAME}.topn", lambda _: None, f"mask of {NAME} is missing"),
        (DETAILS, f"{NAME}.permutation", lambda o: o.fill_(3), f"channel order of {NAME}"),
        (DETAILS, f"{NAME}.permutation", lambda o: o.float(), f"channel order of {NAME}"),
        (DETAILS, f"{NAME}.permutation", lambda o: o[:-1], f"channel order of {NAME}"),
        (DETAILS, f"{NAME}.permutation", lambda o: o[None], f"channel order of {NAME}"),
    ],
)
def test_layers_and_tensors_have_to_match(stored, tmp_path, file, key, harm, says):
    with pytest.raises(EggsError, match=says):
        load_run(harmed(stored, tmp_path, file, key, harm))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoding": "zip"}, "written by another version"),
        ({"encoding_version": "2"}, "written by another version"),
        ({"groups_per_byte": "2"}, "not stored as those of 2:4 are"),
        ({"pattern": "1:4"}, "not stored as those of 2:4 are"),
    ],
)
def test_another_encoding_is_not_guessed_at(tmp_path, change, says):
    save_run(made_up_run("aa11"), tmp_path / "whole")
    with safe_open(tmp_path / "whole" / MASKS, "pt") as file:
        about = file.metadata()
    folder = harmed(tmp_path / "whole", tmp_path, MASKS, NAME, lambda codes: codes, about | change)
    with pytest.raises(EggsError, match=says):
        load_run(folder)


def test_a_mask_that_breaks_its_pattern_is_not_stored(tmp_path):
    run = made_up_run("aa11")
    run.packed_masks["a.up"] = flipped(run.packed_masks["a.up"].clone())
    with pytest.raises(EggsError, match=r"The mask of a\.up breaks 2:4 in 1 of 10 groups"):
        save_run(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


CODED = ["1:2", "2:4", "1:4", "3:4", "2:5", "1:8", "1:16", "2:16", "1:23", "22:23", "1:32"]
BITS = ["2:8", "4:8", "4:4", "1:1", "8:16"]


@fuzz
@given(st.sampled_from(CODED + BITS), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 2**31))
def test_masks_come_back_from_their_codes(text, rows, groups, permuted, seed):
    draw, pattern = torch.Generator().manual_seed(seed), NMPattern.parse(text)
    shape = (rows, groups * pattern.group)
    mask = topn(torch.rand(shape, generator=draw), pattern)
    orders = {"x": torch.randperm(shape[1], generator=draw)} if permuted else {}
    bits = pack_bits(mask[:, orders["x"].argsort()] if permuted else mask)
    stored, about = pack_masks({"x": bits}, {"x": shape}, pattern, orders)
    assert stored["x"].shape == (rows, bytes_per_row(shape[1], pattern)) and stored["x"].dtype == torch.uint8
    assert stored["x"].numel() <= bits.numel() and (about.get("encoding") == ENCODING) == (text in CODED)
    assert torch.equal(unpack_masks(stored, about, {"x": shape}, pattern, orders)["x"], bits)


def test_the_rank_of_a_group_is_that_of_its_combination():
    """Worked by hand: 2:4 keeps columns 0 and 1 (rank 0), 2 and 3 (rank 5), 0 and 3 (rank 2)."""
    mask = torch.tensor([[1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1]]).bool()
    stored, about = pack_masks({"x": pack_bits(mask)}, {"x": (1, 12)}, NMPattern(2, 4), {})
    assert stored["x"].tolist() == [[0 + 6 * 5 + 36 * 2]]
    assert about == {
        "shapes": '{"x": [1, 12]}',
        "pattern": "2:4",
        "encoding": "nm-group-codes",
        "encoding_version": "1",
        "groups_per_byte": "3",
    }


@pytest.fixture(scope="module")
def conv1d(bundled) -> ModelCache:
    """A cache with one model: random GPT-2, whose layers keep their weights transposed."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=4096, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    model, tokenizer, cache = GPT2LMHeadModel(config).eval(), bundled("tiny-llama").tokenizer, ModelCache()
    cache.get = lambda name: LoadedModel(name, model, tokenizer)
    return cache


def test_a_disk_without_room_is_said_before_the_work(conv1d, tmp_path, monkeypatch):
    with pytest.raises(DiskFull, match=r"A run needs 1000000000\.0 GB of disk and .* are free; free some or choose"):
        check_disk(tmp_path / "new" / "run", 1e18, "A run")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 900, 100))
    config, seen = make_config("gpt2", "2:4", "magnitude", evaluation_windows=1, evaluation_length=32), []
    for where in ({"out": tmp_path / "run"}, {"store": tmp_path / "store"}):
        with pytest.raises(DiskFull, match=r"Saving the run in .* needs"):
            for event in execute(config, cache=conv1d, **where):
                seen.append(event)
    assert not any(isinstance(event, LayerDone) for event in seen)


@pytest.mark.parametrize(("pattern", "bits"), [("2:4", 8 / 12), ("1:4", 0.5), ("3:4", 0.5), ("4:8", 1), ("1:8", 0.5)])
def test_bits_a_weight(pattern, bits):
    assert 8 * bytes_per_row(4800, NMPattern.parse(pattern)) / 4800 == pytest.approx(bits)


@pytest.mark.parametrize("number", range(len(METHODS)), ids=list(METHODS))
def test_what_every_method_makes_is_stored_and_opened(conv1d, tmp_path, number):
    method, pattern = list(METHODS)[number], ("2:4", "1:4", "4:8")[number % 3]
    small = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 2, "evaluation_length": 32}
    config = make_config("gpt2", pattern, method, **small)
    run = next(e.run for e in execute(config, cache=conv1d, latency=LIKE["latency"]) if isinstance(e, Finished))
    save_run(run, tmp_path / "run")
    back = load_run(tmp_path / "run")
    keeps_its_pattern(back)
    assert back.report == json.loads(json.dumps(run.report)) and len(back.packed_masks) == 8
    for name in run.packed_masks:
        assert torch.equal(back.mask(name), run.mask(name)) and torch.equal(back.topn_mask(name), run.topn_mask(name))
        assert np.array_equal(back.permutations.get(name, 0), run.permutations.get(name, 0))
