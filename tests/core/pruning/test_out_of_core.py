"""Pruning block by block from disk: the same masks and weights as in memory, after any interruption."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from eggs_core import files
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.files import DiskFull
from eggs_core.masks.bits import unpack_bits
from eggs_core.models.architectures import find_blocks, linear_layers
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.folder import INDEX
from eggs_core.models.loading import load
from eggs_core.pruning import out_of_core as streaming
from eggs_core.pruning.activations import Activations
from eggs_core.pruning.loop import prune
from eggs_core.pruning.out_of_core import StreamedPruning

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")


def windows(seed: int, count: int = 6, length: int = 20) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(seed))


CALIBRATION, EVALUATION = windows(3), windows(4, 5, 16)


@pytest.fixture
def folder(tiny_model, tmp_path):
    """Save a tiny random model as a sharded folder and return its path."""

    def build(kind: str = "llama", dtype: torch.dtype = torch.float16, **changes) -> Path:
        place = tmp_path / f"dense-{kind}"
        tiny_model(kind, **changes).to(dtype).save_pretrained(place, max_shard_size="20KB")
        AutoTokenizer.from_pretrained(ROOT / "assets" / "models" / "tiny-llama").save_pretrained(place)
        return place

    return build


def stream(place: Path, out: Path, method: str = "ria", stop: int | None = None, fit: bool = False, **options):
    """Prune into `out`; `stop` says after how many layers to give up. Returns the Streamed, None if given up."""
    checkpoint = Checkpoint(str(place), CPU)
    config = make_config(str(place), "2:4", method, reconstruction="admm-fit" if fit else None)
    job = StreamedPruning(checkpoint, config, CALIBRATION, EVALUATION, out, **options)
    try:
        job.capture()
        layers = job.prune()
        for number, _ in enumerate(layers, 1):
            if number == stop:
                layers.close()
                return None
        job.evaluate()
        done = job.finish()
    finally:
        job.close()
    assert all(p.is_meta for p in checkpoint.model.parameters())
    return done


def weights(place: Path) -> dict[str, torch.Tensor]:
    return {k: v for file in sorted(place.glob("*.safetensors")) for k, v in load_file(file).items()}


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    ("kind", "method", "dtype"),
    [
        ("llama", "ria", torch.float16),
        ("llama", "eggs-ptp-plus", torch.bfloat16),
        ("opt", "sparsegpt", torch.float16),
        ("gpt2", "wanda", torch.float32),
        ("bloom", "ria-cp", torch.float16),
        ("gemma2", "eggs-ptp", torch.bfloat16),
        ("gpt_neox", "wanda", torch.float16),
    ],
)
def test_the_result_is_that_of_pruning_in_memory(folder, tmp_path, kind, method, dtype):
    place, out = folder(kind, dtype), tmp_path / "pruned"
    done = stream(place, out, method)
    whole = load(str(place), CPU)
    dense = evaluate(whole.model, EVALUATION)
    reports = list(prune(whole.model, CALIBRATION, make_config("m", "2:4", method)))
    assert [x["name"] for x in done.layers] == [r.name for r in reports]
    for report, entry in zip(reports, done.layers, strict=True):
        assert torch.equal(unpack_bits(done.masks[report.name], report.shape), report.mask)
        assert torch.equal(unpack_bits(done.topn[report.name], report.shape), report.topn_mask)
        assert (report.permutation is None) == (report.name not in done.permutations)
        assert entry["output_error"] == report.output_error
    pruned = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert pruned.dtype == dtype
    expected = whole.model.state_dict()
    for name, tensor in pruned.state_dict().items():
        assert torch.equal(tensor, expected[name].to(dtype)), name
    assert torch.allclose(done.dense.nats, dense.nats, atol=1e-5)
    assert torch.allclose(done.pruned.nats, evaluate(whole.model, EVALUATION).nats, atol=1e-5)
    assert (out / "tokenizer.json").is_file()
    index = json.loads((out / INDEX).read_text())["weight_map"]
    assert len(set(index.values())) == 3 == len(list(out.glob("*.safetensors")))


@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_stay_tied(folder, tmp_path, tied):
    place, out = folder("llama", tie_word_embeddings=tied), tmp_path / "pruned"
    stream(place, out)
    assert ("lm_head.weight" in weights(out)) == (not tied)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    assert torch.equal(model.model.embed_tokens.weight, load(str(place), CPU).model.model.embed_tokens.weight)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_stopped_run_goes_on_and_ends_the_same(folder, tmp_path, monkeypatch, in_memory):
    place, whole = folder("llama", num_hidden_layers=3), tmp_path / "whole"
    expected = stream(place, whole)
    if not in_memory:
        monkeypatch.setattr(streaming, "free_memory", lambda _device: 0)
    redone = []
    true_keep = StreamedPruning._keep
    monkeypatch.setattr(StreamedPruning, "_keep", lambda self, n: (redone.append(n), true_keep(self, n)))
    for stop in (3, 9, 7, 1):  # in the first block; in the second; in the third; there again
        assert stream(place, tmp_path / "parts", stop=stop) is None
    done = stream(place, tmp_path / "parts")
    assert redone == [0, 1, 2], "no finished block is pruned again"
    assert same(whole, tmp_path / "parts")
    assert [x["name"] for x in done.layers] == [x["name"] for x in expected.layers]
    assert torch.equal(done.pruned.nats, expected.pruned.nats)
    assert torch.equal(done.dense.nats, expected.dense.nats)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_fitted_run_goes_on_and_ends_as_in_memory(folder, tmp_path, monkeypatch, in_memory):
    place, out = folder("llama"), tmp_path / "parts"
    if not in_memory:
        monkeypatch.setattr(streaming, "free_memory", lambda _device: 0)
    assert stream(place, out, stop=9, fit=True) is None  # seven layers, two steps of the first block's fit
    assert stream(place, out, stop=12, fit=True) is None  # in the second block
    stream(place, out, fit=True)
    whole = load(str(place), CPU)
    list(prune(whole.model, CALIBRATION, make_config("m", "2:4", "ria", reconstruction="admm-fit")))
    expected = whole.model.state_dict()
    for name, tensor in AutoModelForCausalLM.from_pretrained(out, dtype="auto").state_dict().items():
        assert torch.equal(tensor, expected[name].to(torch.float16)), name


def killed(place: Path, out: Path, count: int, after: bool) -> int:
    """Stream in a process of its own that kills itself at the `count`-th file that comes into place; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left, true_replace = [count], os.replace

    def replace(a, b):
        left[0] -= 1
        if left[0] == 0:
            if after:
                true_replace(a, b)
            os.kill(os.getpid(), signal.SIGKILL)
        true_replace(a, b)

    signal.alarm(60)
    files.os.replace = replace
    try:
        stream(place, out)
    finally:
        os._exit(0 if left[0] > 0 else 1)


def test_killed_at_many_points_it_ends_the_same(folder, tmp_path):
    """SIGKILL before or after the n-th file comes into place, whatever it is, until a process gets to the end."""
    place, out = folder("llama"), tmp_path / "killed"
    files = (1, 2, 4, 5, 6, 7, 8, 9, 99)
    codes = [killed(place, out, count, after=count % 2 == 0) for count in files]
    assert codes == [-signal.SIGKILL] * (len(files) - 1) + [0]
    stream(place, tmp_path / "whole")
    assert same(tmp_path / "whole", out)


def test_a_full_disk_is_said_beforehand(folder, tmp_path, monkeypatch):
    place = folder()
    monkeypatch.setattr(streaming.shutil, "disk_usage", lambda _p: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(
        DiskFull, match=r"needs .* kB in .* the disk has 1.0 kB of free space; free some or choose another"
    ):
        stream(place, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_a_disk_that_fills_up_is_one_sentence_and_the_run_goes_on_later(folder, tmp_path, monkeypatch):
    place, out = folder(), tmp_path / "out"
    true_save, left = safetensors.torch.save_file, [9]

    def save(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            Path(args[1]).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return true_save(*args, **kwargs)

    monkeypatch.setattr(safetensors.torch, "save_file", save)
    with pytest.raises(DiskFull) as caught:
        stream(place, out)
    assert str(caught.value).startswith(f"The disk that holds {out}")
    assert str(caught.value).endswith(
        "1 of 2 blocks are finished and kept: free some space and start the same run again."
    )
    assert not list(out.rglob("*.part"))
    monkeypatch.setattr(safetensors.torch, "save_file", true_save)
    stream(place, out)
    stream(place, tmp_path / "whole")
    assert same(out, tmp_path / "whole")


def test_a_real_full_disk_of_safetensors_is_recognised(tmp_path):
    """What safetensors itself raises for ENOSPC, on the one device that is always full."""
    with pytest.raises(DiskFull), files.replacing(tmp_path / "a.safetensors") as part:
        part.unlink()
        part.symlink_to("/dev/full")
        with open(part, "wb") as file:
            file.write(b"x" * 100000)


def test_two_devices_give_what_one_gives(folder, tmp_path):
    place, method = folder(), "eggs-ptp-plus"
    stream(place, tmp_path / "one", method)
    stream(place, tmp_path / "two", method, devices=[torch.device("cpu", 0), torch.device("cpu", 1)])
    assert same(tmp_path / "one", tmp_path / "two")


def test_another_process_or_input_in_the_same_folder_is_refused(folder, tmp_path):
    place, out = folder(), tmp_path / "out"
    stream(place, out, stop=9)
    with pytest.raises(EggsError, match="unfinished run of another model or configuration"):
        stream(place, out, "wanda")
    checkpoint = Checkpoint(str(place), CPU)
    config = make_config(str(place), "2:4", "ria")
    job = StreamedPruning(checkpoint, config, CALIBRATION, EVALUATION, out)
    with pytest.raises(EggsError, match="Another process is pruning"):
        stream(place, out)
    job.close()
    stream(place, out)
    shutil.rmtree(out / streaming.WORK / "dense")
    with pytest.raises(EggsError, match=r"activations kept in .* are incomplete"):
        stream(place, out)
    shutil.rmtree(out / streaming.WORK)
    with pytest.raises(EggsError, match="holds a model already"):
        stream(place, out)


def broken(place: Path, match: str) -> None:
    with pytest.raises(EggsError, match=match):
        Checkpoint(str(place), CPU)


def test_a_missing_shard_a_wrong_index_and_damage_are_named(folder):
    place = folder()
    index = place / INDEX
    said = json.loads(index.read_text())
    name, file = next((k, v) for k, v in said["weight_map"].items() if "layers.1" in k)
    other = next(v for v in said["weight_map"].values() if v != file)

    index.write_text(json.dumps({"weight_map": {**said["weight_map"], name: other}}))
    broken(place, f"index of .* is wrong: {other} does not hold {name}")
    index.write_text(json.dumps({"weight_map": {k: v for k, v in said["weight_map"].items() if k != name}}))
    broken(place, f"holds no weight {name}")
    index.write_text("{")
    broken(place, "damaged model.safetensors.index.json")
    index.write_text(json.dumps(said))

    shard = (place / file).read_bytes()
    (place / file).write_bytes(shard[:-10])
    broken(place, f"{file} of .* is damaged or only partly downloaded")
    (place / file).unlink()
    broken(place, f"lacks the weight file {file}")
    (place / file).write_bytes(shard)
    Checkpoint(str(place), CPU)

    with safe_open(place / file, framework="pt") as opened:
        tensors = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118 - not a dict
    save_file({**tensors, name: torch.zeros(3, 3)}, place / file)
    broken(place, rf"{name} has shape \(3, 3\)")
    save_file({**tensors, name: torch.zeros(3, 3, dtype=torch.int8)}, place / file)
    broken(place, "stores .* as I8")


def test_what_cannot_be_streamed_says_why(tmp_path, folder):
    broken(Path("nobody/nothing"), "no folder of safetensors files")
    with pytest.raises(EggsError, match=r"layer model\.layers\.0\.self_attn\.q_proj"):
        checkpoint = Checkpoint(str(folder()), CPU)
        StreamedPruning(checkpoint, make_config("m", "5:20", "ria"), CALIBRATION, EVALUATION, tmp_path / "o")


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "bloom", "gemma2", "gpt_neox", "falcon"])
def test_arguments_of_blocks_that_did_not_run_are_those_of_a_whole_pass(tiny_model, kind):
    model = tiny_model(kind)
    _, blocks = find_blocks(model)
    caught = []
    handles = [b.register_forward_pre_hook(lambda _m, a, k: caught.append((a, k)), with_kwargs=True) for b in blocks]
    with torch.no_grad():
        model(CALIBRATION, use_cache=False)
    for handle in handles:
        handle.remove()
    activations = Activations(model, blocks, CALIBRATION)
    found = [activations.calls(number).arguments[0] for number in range(len(blocks))]
    for (args, kwargs), (own_args, own_kwargs) in zip(caught, found, strict=True):
        expected = [*args[1:], *(v for k, v in sorted(kwargs.items()) if k != "hidden_states")]
        for a, b in zip(expected, [*own_args, *(v for _, v in sorted(own_kwargs.items()))], strict=True):
            for x, y in zip(*((v if isinstance(v, tuple) else (v,)) for v in (a, b)), strict=True):
                assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
    assert all("forward" not in block.__dict__ for block in blocks)
    assert sum(1 for _ in linear_layers(model)) > 0


def test_activations_are_as_wide_as_the_blocks_whatever_the_embedding_is(folder, tmp_path):
    place = folder("opt", word_embed_proj_dim=16)  # as OPT-350m has it, half as wide as its blocks
    checkpoint = Checkpoint(str(place), CPU)
    job = StreamedPruning(checkpoint, make_config("opt", "2:4", "ria"), CALIBRATION, EVALUATION, tmp_path / "out")
    try:
        job.capture()
        held = sum(tensor.nbytes for spool in job._spools.values() for tensor in spool)
        assert checkpoint.model.get_input_embeddings().weight.shape[1] == 16
        assert job._activation_bytes() == held
    finally:
        job.close()
