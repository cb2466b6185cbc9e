"""Taking a finished run along: a Hugging Face folder, the packed file or the masks, with a card; and to the Hub."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from eggs_core.errors import EggsError
from eggs_core.export import save_hf, save_packed
from eggs_core.files import replacing, write_tensors
from eggs_core.model_card import HUB_ID, model_card, shown_name
from eggs_core.model_folder import INDEX
from eggs_core.pipeline import Progress
from eggs_core.runs import DETAILS, MASKS, Run
from eggs_core.weights import PrunedModel, recover

FORMATS = {
    "hf": "Hugging Face folder, zeros stored: opens with transformers, vLLM, SGLang, TensorRT-LLM",
    "packed": "packed safetensors: small, opens with this project",
    "masks": "the masks and channel orders alone",
}
NO_ENGINE = (
    "There is no {0} export: serving engines no longer read compressed 2:4 weights (compressed-tensors dropped "
    "sparse-24-bitmask in 0.15, vLLM by 0.19.1); use hf, the layout that they all read."
)
DROPPED = ("compressed-tensors", "sparse-24-bitmask", "sparse24", "2:4", "vllm", "sglang")


def check_format(name: str) -> str:
    """The name of a format; raises EggsError, with the reason, for one that is not written."""
    if name.lower() in DROPPED:
        raise EggsError(NO_ENGINE.format(name))
    if name not in FORMATS:
        raise EggsError(f"Unknown format {name!r}; choose one of {', '.join(FORMATS)}.")
    return name


def export_run(run: Run, kind: str, out: Path) -> Iterator[Progress]:
    """Write a run into the folder `out`, which is new or empty, in one of FORMATS, with a model card.

    Weights come from the pruned checkpoint of a streamed run, from memory, or from pruning once more. Raises EggsError,
    before any work, for a format or a folder that cannot be.
    """
    check_format(kind)
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EggsError(f"{out} is not empty; choose a new folder.")
    if kind == "masks":
        write_export(run, None, kind, out)
    elif kind == "hf" and (source := _checkpoint(run)):
        yield Progress(f"Copying {source.name}", 0.0)
        _copy(source, out)
        _write_card(run, kind, out)
    else:
        models = yield from recover(run)
        yield Progress("Writing", 1.0)
        write_export(run, models, kind, out)


def write_export(run: Run, models: PrunedModel | None, kind: str, out: Path) -> None:
    """Write a run whose models are at hand; masks need none."""
    if kind == "hf":
        save_hf(models.zeros, models.dense.tokenizer, out)
    elif kind == "packed":
        info = {k: run.report[k] for k in ("pattern", "method", "seed", "key")} | {
            "model": shown_name(run.report["model"])
        }
        save_packed(models.packed, out, tokenizer=models.dense.tokenizer, info=info)
    else:
        shapes = {layer["name"]: layer["shape"] for layer in run.report["layers"]}
        write_tensors(out / MASKS, run.packed_masks, {"shapes": json.dumps(shapes), "pattern": run.report["pattern"]})
        if orders := {f"{n}.permutation": order.to(torch.int32) for n, order in run.permutations.items()}:
            write_tensors(out / DETAILS, orders)
    _write_card(run, kind, out)


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


def push(folder: Path, repository: str, private: bool = True) -> str:
    """Upload a folder to the Hub with the user's own token, creating the repository if need be; returns its address.

    Raises EggsError, which never holds the token, when the Hub refuses or cannot be reached.
    """
    check_push(repository, False)
    token = get_token()
    api = HfApi(token=token)
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=[name for name, _ in push_plan(folder)]
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        said = str(error).replace(token, "…").strip().splitlines() or [type(error).__name__]
        said = re.sub(r"hf_\w+", "…", said[0])[:200].rstrip(" .")
        raise EggsError(f"The Hub did not take {repository}: {said}; check the token's rights and try again.") from None
    return str(address)


def _checkpoint(run: Run) -> Path | None:
    """The pruned checkpoint of a streamed run, if it is still here."""
    place = run.report.get("checkpoint")
    return Path(place) if place and (Path(place) / INDEX).is_file() else None


def _copy(source: Path, out: Path) -> None:
    weights = set(json.loads((source / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    ours = {"report.json", MASKS, DETAILS}
    names = sorted(weights | {f.name for f in source.iterdir() if f.is_file() and f.suffix != ".safetensors"} - ours)
    for name in names:
        with replacing(out / name) as part:
            shutil.copyfile(source / name, part)


def _write_card(run: Run, kind: str, out: Path) -> None:
    with replacing(out / "README.md") as part:
        part.write_text(model_card(run, kind), encoding="utf-8")
