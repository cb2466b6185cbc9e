"""Taking a finished run along: a Hugging Face folder, the packed file or the masks, with a card; and to the Hub."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from typing_extensions import TypedDict

from eggs_core.errors import EggsError
from eggs_core.files import check_disk, check_new, new_folder
from eggs_core.heavy import safetensors_torch, torch
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.folder import INDEX
from eggs_core.models.gguf_writing import check_gguf, write_gguf
from eggs_core.progress import Progress
from eggs_core.reading import read_json
from eggs_core.runs.folder import DETAILS, MASKS, REPORT
from eggs_core.runs.model_card import HUB_ID, model_card, shown_name
from eggs_core.runs.pruned_models import WEIGHTS, PrunedModel, RecoveredModel, recover
from eggs_core.runs.run import Run
from eggs_core.validation import check

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

CARD, DOING = "README.md", "The export"
FORMATS = {
    "hf": "Hugging Face folder, zeros stored: opens with transformers, vLLM, SGLang, TensorRT-LLM",
    "packed": "packed safetensors: small, opens with this project, and with transformers once eggs_core is imported",
    "gguf": "one GGUF file in F16 for llama.cpp, Ollama, LM Studio: zeros stored, so no smaller than the dense model",
    "gguf-q8_0": "the same in Q8_0, 8 bits a weight",
    "masks": "the masks and channel orders alone",
}
GGUF = {"gguf": "F16", "gguf-q8_0": "Q8_0"}  # how each stores matrices
NO_ENGINE = (
    "There is no {0} export: serving engines no longer read compressed 2:4 weights (compressed-tensors dropped "
    "sparse-24-bitmask in 0.15, vLLM by 0.19.1); use hf, the layout that they all read."
)
DROPPED = ("compressed-tensors", "sparse-24-bitmask", "sparse24", "2:4", "vllm", "sglang")


class ShardIndex(TypedDict):
    """What is read of a checkpoint's index: which file holds which tensor."""

    weight_map: dict[str, str]


def check_format(name: str) -> str:
    """The name of a format; raises EggsError, with the reason, for one that is not written."""
    if name.lower() in DROPPED:
        raise EggsError(NO_ENGINE.format(name))
    if name not in FORMATS:
        raise EggsError(f"Unknown format {name!r}; choose one of {', '.join(FORMATS)}.")
    return name


def export_run(run: Run, kind: str, out: Path) -> Iterator[Progress]:
    """Write a run into the folder `out`, which is new or empty, in one of FORMATS, with a model card.

    The folder appears whole or not at all. Weights come from the pruned checkpoint of a streamed run, from memory, or
    from pruning once more. Raises EggsError, before any work, for a format or a folder that cannot be, and DiskFull.
    """
    check_format(kind)
    if kind == "packed":
        run.check_packs()
    out = Path(out)
    check_new(out)
    write: Callable[[Path], None]
    if kind == "masks":
        write = partial(_write_masks, run)
    elif kind in GGUF:
        check_disk(out, run.report["size"]["dense_bytes"], DOING)
        write = yield from _gguf(run, kind)
    elif kind == "hf" and (source := pruned_checkpoint(run)):
        yield Progress(f"Copying {source.name}", 0.0)
        files = _files_of(source)
        check_disk(out, sum(file.stat().st_size for file in files), "The copy")
        write = partial(_copy, files)
    else:
        space, more = run.report["size"], run.report.get("rotation", {}).get("added_bytes", 0)
        check_disk(out, space["dense_bytes"] + more if kind == "hf" else space["packed_bytes"], DOING)
        models = yield from recover(run)
        yield Progress("Writing", 1.0)
        write = partial(_write_dense, models) if kind == "hf" else partial(_write_packed, run, models)
    with new_folder(out) as part:
        write(part)
        (part / CARD).write_text(model_card(run, kind), encoding="utf-8")


def _gguf(run: Run, kind: str) -> Generator[Progress, None, Callable[[Path], None]]:
    """Yield progress and return what writes a run as one GGUF file into a folder.

    Raises EggsError, before weights are made anew, for a model that llama.cpp does not have.
    """
    name, source = run.report["model"], pruned_checkpoint(run)
    yield Progress(f"Looking at {name}", 0.0)
    if source is not None:
        _files_of(source)
        checkpoint = Checkpoint(name, folder=source)
        return partial(_write_gguf, run, kind, _tensors(checkpoint), checkpoint.config, checkpoint.tokenizer)
    if WEIGHTS.get(run.key) is None:
        check_gguf(name)
    models = yield from recover(run)
    yield Progress("Writing", 1.0)
    state, tokenizer = models.zeros.state_dict(), models.dense.tokenizer
    return partial(_write_gguf, run, kind, state, models.zeros.config, tokenizer)


def _tensors(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by the model's names, in mapped files."""
    files = {place.file for place in checkpoint.stored.values()}
    held = {file: safetensors_torch.load_file(checkpoint.folder / file) for file in files}
    return {name: held[place.file][place.key] for name, place in checkpoint.stored.items()}


def _write_gguf(
    run: Run,
    kind: str,
    state: dict[str, torch.Tensor],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
) -> None:
    file = folder / f"{file_name(run)}-{GGUF[kind]}.gguf"
    write_gguf(state, config, tokenizer, file, GGUF[kind], shown_name(run.report["model"]))


def file_name(run: Run) -> str:
    """What a file of a run is called, without its ending."""
    report = run.report
    return f"{Path(report['model']).name}-{report['pattern'].replace(':', 'of')}-{report['method']}"


def _copy(files: list[Path], folder: Path) -> None:
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _write_dense(models: PrunedModel, folder: Path) -> None:
    """The pruned model as transformers reads it, zeros stored."""
    from eggs_core.packed.hf_folder import write_hf  # here, as it imports torch at once

    write_hf(models.zeros, models.dense.tokenizer, folder)


def _write_packed(run: Run, models: RecoveredModel, folder: Path) -> None:
    """The packed model."""
    from eggs_core.packed.writing import write_packed  # here, as it imports torch at once

    report = run.report
    about = {k: report[k] for k in ("pattern", "method", "seed", "key")} | {"model": shown_name(report["model"])}
    write_packed(models.packed, models.dense.tokenizer, folder, about)


def _write_masks(run: Run, folder: Path) -> None:
    """Masks, channel orders and the rotation of the weights that they are for."""
    shapes = {layer["name"]: layer["shape"] for layer in run.report["layers"]}
    masks = {name: mask.contiguous() for name, mask in run.packed_masks.items()}
    safetensors_torch.save_file(masks, folder / MASKS, {"shapes": json.dumps(shapes), "pattern": run.report["pattern"]})
    details = {f"{n}.permutation": order.to(torch.int32) for n, order in run.permutations.items()}
    if details := details | (run.rotation.tensors() if run.rotation else {}):
        safetensors_torch.save_file(details, folder / DETAILS)


def push_plan(folder: Path) -> list[tuple[str, int]]:
    """What a push would upload: (path inside the folder, bytes), in alphabetical order."""
    files = [f for f in sorted(Path(folder).rglob("*")) if f.is_file() and not f.name.startswith(".")]
    return [(str(f.relative_to(folder)), f.stat().st_size) for f in files]


def check_push(repository: str, dry_run: bool) -> None:
    """Raise EggsError for a name that is none, and if there is no token to push with."""
    if not HUB_ID.fullmatch(repository) or repository.startswith((".", "-")):
        raise EggsError(f"{repository!r} is no repository of the Hub: give owner/name.")
    if not dry_run and not get_token():
        raise EggsError("There is no token to push with: set HF_TOKEN, or log in with `hf auth login`.")


def push(folder: Path, repository: str, private: bool = True, hub: Callable[..., Any] = HfApi) -> str:
    """Upload a folder to the Hub with the user's own token, creating the repository if need be; returns its address.

    `hub` is called as HfApi is. Raises EggsError, which never holds the token, when the Hub refuses or is out of reach.
    """
    check_push(repository, False)
    token = get_token()
    api = hub(token=token)
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=[name for name, _ in push_plan(folder)]
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        lines = str(error).replace(token or "…", "…").strip().splitlines() or [type(error).__name__]
        message = re.sub(r"hf_\w+", "…", lines[0])[:200].rstrip(" .")
        raise EggsError(
            f"The Hub did not take {repository}: {message}; check the token's rights and try again."
        ) from None
    return str(address)


def pruned_checkpoint(run: Run) -> Path | None:
    """The pruned checkpoint of a streamed run, if it is still here."""
    place = run.report.get("checkpoint")
    return Path(place) if place and (Path(place) / INDEX).is_file() else None


def _files_of(source: Path) -> list[Path]:
    """The files of a pruned checkpoint that make a model folder; raises EggsError where one is missing."""
    try:
        index = check(read_json(source / INDEX), ShardIndex, "its index")
        files = [source / name for name in sorted(set(index["weight_map"].values()))]
        ours = {REPORT, MASKS, DETAILS, CARD}
        files += [
            f for f in sorted(source.iterdir()) if f.is_file() and f.suffix != ".safetensors" and f.name not in ours
        ]
        if lost := [file for file in files if file.parent != source or not file.is_file()]:
            raise ValueError(f"{lost[0].name[:200]} is missing")
    except (OSError, ValueError) as error:
        raise EggsError(f"The pruned model in {source} is incomplete ({error}); prune it once more.") from error
    return files
