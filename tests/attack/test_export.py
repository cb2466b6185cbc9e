"""Packed files that are damaged, and exports that a full disk, a kill or a failing part cut off."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from harness import ROOT, damaged_bytes, damaged_value, fuzz, killed_commands, only_sentences
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from eggs_core.errors import EggsError
from eggs_core.files import new_folder
from eggs_core.packed.file import FILE, load_packed, packed_info
from eggs_core.packed.hf_folder import save_hf
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import pack_model
from eggs_core.packed.writing import save_packed
from eggs_core.pattern import NMPattern
from eggs_core.runs.export import FORMATS, export_run
from eggs_core.runs.run import load_run

pytestmark = pytest.mark.usefixtures("one_thread")
P24 = NMPattern(2, 4)
IDS = torch.arange(12)[None]
RUN = ROOT / "assets" / "runs" / "tiny-llama-2of4-wanda"
PARSED = ("config", "layers", "generation_config", "info")


def tiny() -> tuple[nn.Module, dict, dict]:
    """A GPT-2 of 30 KB with biases and Conv1D layers, packed in place, half of its layers permuted."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=16, n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    model, masks, orders = GPT2LMHeadModel(config).eval(), {}, {}
    for number, name in enumerate(n for n, m in model.named_modules() if type(m).__name__ == "Conv1D"):
        columns, rows = model.get_submodule(name).weight.shape
        order = torch.randperm(columns) if number % 2 else torch.arange(columns)
        kept = torch.zeros(rows, columns // 4, 4).scatter_(2, torch.rand(rows, columns // 4, 4).topk(2).indices, 1)
        masks[name] = torch.empty(rows, columns, dtype=torch.bool)
        masks[name][:, order] = kept.bool().view(rows, columns)
        if number % 2:
            orders[name] = order
    return model, masks, orders


def packed() -> nn.Module:
    model, masks, orders = tiny()
    return pack_model(model, masks, P24, orders)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save_packed(packed(), tmp_path_factory.mktemp("packed") / "a.safetensors", info={"by": "me"})


@pytest.fixture(scope="module")
def parts(saved) -> tuple[dict, dict]:
    with safe_open(saved, framework="pt") as opened:
        return {k: opened.get_tensor(k) for k in opened.keys()}, opened.metadata()  # noqa: SIM118 - not a dict


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("packed") / "damaged.safetensors"


@torch.no_grad()
def use(file: Path) -> None:
    packed_info(file)
    logits = load_packed(file)(IDS).logits
    assert torch.isfinite(logits).all()


@fuzz
@given(data=st.data())
def test_damaged_bytes_are_refused_or_do_no_harm(saved, damaged, data):
    damaged.write_bytes(data.draw(damaged_bytes(saved.read_bytes())))
    with only_sentences():
        use(damaged)


@fuzz
@given(data=st.data())
def test_metadata_of_another_writer(parts, damaged, data):
    """Without a checksum, which would find all of it."""
    tensors, metadata = parts
    values = data.draw(damaged_value({name: json.loads(metadata[name]) for name in PARSED}))
    words = {k: json.dumps(v) for k, v in values.items()} if isinstance(values, dict) else {}
    kept = {k: v for k, v in metadata.items() if k not in (*PARSED, "sha256")}
    save_file(tensors, damaged, metadata=kept | {k: v for k, v in words.items() if k in PARSED})
    with only_sentences():
        use(damaged)


@fuzz
@given(data=st.data())
def test_tensors_of_another_writer(parts, damaged, data):
    """Values, positions, orders and biases of another dtype, shape or content."""
    tensors, metadata = dict(parts[0]), {k: v for k, v in parts[1].items() if k != "sha256"}
    name = data.draw(st.sampled_from(sorted(tensors)))
    old = tensors[name]
    kind = data.draw(st.sampled_from(["dtype", "value", "shape", "drop", "swap"]))
    if kind == "dtype":
        dtypes = [torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.int64, torch.uint8, torch.bool]
        tensors[name] = old.to(data.draw(st.sampled_from(dtypes)))
    elif kind == "value" and old.numel():
        tensors[name] = old.clone()
        worst = [float("nan"), float("inf"), 3e38, -3e38] if old.is_floating_point() else [-1, 2**31 - 1, 7]
        at = data.draw(st.integers(0, old.numel() - 1))
        tensors[name].view(-1)[at] = data.draw(st.sampled_from(worst))
    elif kind == "shape":
        tensors[name] = old.reshape(-1)[: data.draw(st.integers(0, old.numel()))].clone()
    elif kind == "drop":
        del tensors[name]
    else:
        tensors[name] = tensors[data.draw(st.sampled_from(sorted(tensors)))].clone()
    save_file(tensors, damaged, metadata=metadata)
    with only_sentences():
        load_packed(damaged)(IDS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")], ids=str)
def test_every_tensor_is_finite_whatever_it_is(parts, damaged, value):
    tensors, metadata = parts
    for name in [n for n, t in tensors.items() if t.is_floating_point()]:
        changed = tensors[name].clone()
        changed.view(-1)[-1] = value
        for words in (metadata, {k: v for k, v in metadata.items() if k != "sha256"}):
            save_file(tensors | {name: changed}, damaged, metadata=words)
            with pytest.raises(EggsError, match=rf"{name} of .* NaN or infinite"):
                load_packed(damaged)


def test_one_bit_anywhere_in_the_weights_is_noticed(saved, damaged):
    whole = saved.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for at in range(start, len(whole), 1009):
        data = bytearray(whole)
        data[at] ^= 1
        damaged.write_bytes(data)
        with pytest.raises(EggsError):
            load_packed(damaged)


def header(saved: Path, change) -> bytes:
    whole = saved.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    values = json.loads(whole[8 : 8 + size])
    change(values)
    text = json.dumps(values).encode()
    return len(text).to_bytes(8, "little") + text + whole[8 + size :]


NAME = "transformer.h.0.mlp.c_fc.bias"
LIES = {
    "shape": lambda v: v[NAME].update(shape=[1 << 40]),
    "overflow": lambda v: v[NAME].update(shape=[1 << 32, 1 << 32]),
    "negative": lambda v: v[NAME].update(shape=[-1]),
    "beyond the end": lambda v: v[NAME].update(data_offsets=[0, 1 << 50]),
    "backwards": lambda v: v[NAME].update(data_offsets=v[NAME]["data_offsets"][::-1]),
    "on another": lambda v: v[NAME].update(data_offsets=[0, 256]),
    "nothing": lambda v: v.clear(),
    "metadata": lambda v: v.update(__metadata__={"format": 7}),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_header_that_lies(saved, damaged, lie):
    damaged.write_bytes(header(saved, lie))
    with pytest.raises(EggsError):
        load_packed(damaged)
    with only_sentences():
        packed_info(damaged)


@pytest.mark.parametrize("size", [0, 7, (1 << 63) - 1, 200 << 20])
def test_a_header_of_another_length(saved, damaged, size):
    damaged.write_bytes(size.to_bytes(8, "little") + saved.read_bytes()[8:])
    with pytest.raises(EggsError, match="damaged"):
        load_packed(damaged)


@pytest.mark.parametrize("name", PARSED[:3])
def test_metadata_nested_without_end(parts, damaged, name):
    tensors, metadata = parts
    save_file(tensors, damaged, metadata={**metadata, name: '{"a":' * 100_000, "sha256": ""})
    with pytest.raises(EggsError):
        load_packed(damaged)


def test_a_file_from_before_checksums_opens(parts, damaged, saved):
    tensors, metadata = parts
    save_file(tensors, damaged, metadata={k: v for k, v in metadata.items() if k != "sha256"})
    with torch.no_grad():
        assert torch.equal(load_packed(damaged)(IDS).logits, load_packed(saved)(IDS).logits)


@pytest.mark.parametrize("name", ["transformer.h.0.mlp.c_fc", "transformer.ln_f", "transformer.wte"])
def test_what_would_not_open_is_not_saved(tmp_path, name):
    model = packed()
    module = model.get_submodule(name)
    tensor = module.bias if isinstance(module, PackedLinear) else next(module.parameters()).data
    tensor.view(-1)[0] = float("nan")
    with pytest.raises(EggsError, match=f"{name}.* NaN or infinite"):
        save_packed(model, tmp_path / "new")
    assert not any(tmp_path.iterdir())


class Tokenizer:
    """A tokenizer that writes half of its files."""

    def __init__(self, error: Exception):
        self.error = error

    def save_pretrained(self, folder: Path) -> None:
        (Path(folder) / "half.json").write_text("{")
        raise self.error


FAILURES = [OSError(28, "No space left on device"), Exception("No space left on device (os error 28)")]


@pytest.mark.parametrize("error", FAILURES, ids=["OSError", "of the tokenizers library"])
@pytest.mark.parametrize("save", [save_hf, save_packed])
def test_a_folder_whose_last_part_fails_is_as_before(tmp_path, save, error):
    model, tokenizer = packed(), Tokenizer(error)
    old = tmp_path / "old"
    old.mkdir()
    (old / FILE).write_text("old")
    for folder in (tmp_path / "new", old):
        with pytest.raises(EggsError, match=r"disk that holds .* is full"):
            save(model, tokenizer, folder) if save is save_hf else save(model, folder, tokenizer=tokenizer)
    assert [f.name for f in tmp_path.iterdir()] == ["old"]
    assert [f.name for f in old.iterdir()] == [FILE] and (old / FILE).read_text() == "old"


def test_saving_over_an_older_folder_replaces_its_weights_and_leaves_the_rest(tmp_path):
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "notes.txt"):
        (tmp_path / name).write_text("old")
    save_hf(packed(), None, tmp_path)
    names = {f.name for f in tmp_path.iterdir()}
    assert names == {"config.json", "generation_config.json", "model.safetensors", "notes.txt"}


def test_a_folder_at_hand_is_filled_and_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with new_folder(Path()) as part:
        (part / "a").write_text("a")
        assert not (tmp_path / "a").exists()
    assert [f.name for f in Path().iterdir()] == ["a"]


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_that_is_given_up_leaves_nothing(tmp_path, kind):
    steps = export_run(load_run(RUN), kind, tmp_path / "out")
    for _ in range(2):
        next(steps, None)
        assert kind == "masks" or not (tmp_path / "out").exists()
    steps.close()
    assert kind == "masks" or not any(tmp_path.iterdir())


def test_too_little_disk_is_said_before_the_weights_are_rebuilt(tmp_path):
    run = load_run(RUN)
    run.report["size"] = run.report["size"] | {"dense_bytes": 1 << 60, "packed_bytes": 1 << 60}
    for kind in ("hf", "packed", "gguf", "gguf-q8_0"):
        with pytest.raises(EggsError, match="free some or choose"):
            next(export_run(run, kind, tmp_path / "out"))
    assert not any(tmp_path.iterdir())


# What a process does whose files may not grow beyond so many bytes: as a full disk, which needs no disk of its own.
FULL = """
import resource, signal, sys
from pathlib import Path
from typer.testing import CliRunner
from eggs_core.cli.command_line import app
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for case in sys.argv[1:]:
    limit, *words = case.split("|")
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    result = CliRunner().invoke(app, words)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    last = (result.stderr.splitlines() or [""])[-1]
    print(result.exit_code, type(result.exception).__name__, last, sep="|", flush=True)
"""
QUICK = (
    "--method|magnitude|--calibration-windows|1|--calibration-length|16|--evaluation-windows|1|--evaluation-length|16"
)


def run_full(cases: list[str]) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", FULL, *cases],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return [line.split("|", 2) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_behind(tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("models: tiny-llama\npatterns: 2:4\nmethods: wanda")
    place = tmp_path / "place"
    place.mkdir()
    out = place / "out"
    cases = [
        f"{limit}|export|--run|{RUN}|--out|{out}|--format|{kind}"
        for kind, limits in {
            "hf": (1000, 100_000),
            "packed": (100_000, 7_000_000),
            "gguf": (1000, 1_000_000),
            "masks": (1000,),
        }.items()
        for limit in limits
    ]
    cases += [f"10000|prune|--out|{out}|{QUICK}", f"100|sweep|{grid}|--out|{out}"]
    for case, (code, kind, said) in zip(cases, run_full(cases), strict=True):
        assert (code, kind) == ("2", "SystemExit"), (case, said)
        assert "could not be" in said and ("File too large" in said or "full" in said), (case, said)
    assert not any(place.rglob("*.*")), list(place.rglob("*"))


@pytest.mark.slow
def test_a_real_disk_that_fills_up(tmp_path):
    """A file system of few bytes, on which some of the files find room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14200k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs rights that are not given here")
    try:
        (disk / "taken").write_bytes(b"x" * 500_000)  # the weights find room, the tokenizer does not
        cases = [f"-1|export|--run|{RUN}|--out|{disk / 'out'}|--format|hf"]
        (disk / "keep").mkdir()
        [(code, kind, said)] = run_full(cases)
        assert (code, kind) == ("2", "SystemExit") and "full" in said, said
        (disk / "taken").write_bytes(b"x" * 14_150_000)
        for code, kind, said in run_full([f"-1|prune|--out|{disk / 'out'}|{QUICK}"]):
            assert ((code, kind) == ("2", "SystemExit") and "space" in said) or "full" in said, said
        assert sorted(f.name for f in disk.iterdir()) == ["keep", "taken"]
    finally:
        subprocess.run(["umount", disk], check=True)


def leftovers(place: Path, name: str) -> list[Path]:
    """What lies beside the target, which is hidden and known as unfinished."""
    found = [f for f in place.iterdir() if f.name != name]
    assert all(f.name.startswith(f".{name}") for f in found), found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_that_is_killed_is_there_whole_or_not_at_all(tmp_path, kind):
    names: set[frozenset] = set()

    def check(finished: bool) -> None:
        out = tmp_path / "out"
        assert out.exists() >= finished
        leftovers(tmp_path, "out")
        if out.exists():
            names.add(frozenset(f.name for f in out.iterdir()))
            if kind == "packed":
                load_packed(out)
            elif kind == "hf":
                AutoModelForCausalLM.from_pretrained(out)
            os.rename(out, tmp_path / f".out-done-{time.monotonic_ns()}")

    arguments = ["export", "--run", str(RUN), "--format", kind, "--out", str(tmp_path / "out")]
    assert killed_commands(arguments, check, seed=4)
    assert len(names) == 1  # every one that was there was the same
    for part in tmp_path.glob(".out.*.part"):
        for inner in (*part.rglob("*"), part):
            os.utime(inner, (0, 0))
    with new_folder(tmp_path / "out"):
        pass
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_a_run_that_is_killed_is_there_whole_or_not_at_all(tmp_path):
    found = []

    def check(finished: bool) -> None:
        out = tmp_path / "out"
        assert out.exists() >= finished
        leftovers(tmp_path, "out")
        if out.exists():
            found.append(load_run(out).packed_masks)
            os.rename(out, tmp_path / f".out-done-{len(found)}")

    assert killed_commands(["prune", "--out", str(tmp_path / "out"), *QUICK.split("|")], check, seed=5)
    assert all(torch.equal(mask, found[0][name]) for masks in found for name, mask in masks.items())
