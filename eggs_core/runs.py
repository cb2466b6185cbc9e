"""Finished runs on disk: report.json and masks.safetensors in one folder, written atomically."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from eggs_core.errors import EggsError
from eggs_core.masks import unpack_bits

REPORT, MASKS = "report.json", "masks.safetensors"
_REQUIRED = ("model", "pattern", "method", "seed", "layers", "evaluation", "size")


@dataclass(slots=True)
class Run:
    """One run: its report (plain values, ready for JSON) and its bit-packed masks by layer name, uint8 (out, ⌈in/8⌉)."""

    report: dict[str, Any]
    packed_masks: dict[str, torch.Tensor]
    permutations: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The configuration's hash."""
        return self.report["key"]

    def layer(self, name: str) -> dict[str, Any]:
        """The report of one layer; raises EggsError if the run has none of that name."""
        for layer in self.report["layers"]:
            if layer["name"] == name:
                return layer
        raise EggsError(f"This run has no layer {name!r}.")

    def mask(self, name: str) -> torch.Tensor:
        """One layer's mask, bool (out, in); raises EggsError if the run has none of that name."""
        shape = tuple(self.layer(name)["shape"])
        if name not in self.packed_masks:
            raise EggsError(f"The mask of layer {name} is missing from this run; run it again.")
        return unpack_bits(self.packed_masks[name], shape)


def save_run(run: Run, folder: Path) -> None:
    """Write a run into `folder`, which appears whole or not at all; an older run there is replaced.

    Raises EggsError when the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise EggsError(f"The run cannot be saved in {folder}: {error.strerror}; choose another folder.") from error
    try:
        shapes = json.dumps({layer["name"]: layer["shape"] for layer in run.report["layers"]})
        tensors = {name: mask.contiguous() for name, mask in run.packed_masks.items()}
        tensors |= {f"{name}.permutation": order.to(torch.int32) for name, order in run.permutations.items()}
        save_file(tensors, part / MASKS, metadata={"shapes": shapes})
        (part / REPORT).write_text(json.dumps(run.report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        part.chmod(0o755)
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            os.replace(folder, old / "run")
            os.replace(part, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(part, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise EggsError(f"The run could not be saved in {folder}: {reason}; free some space and try again.") from error


def load_run(folder: Path) -> Run:
    """Read a run; raises EggsError, saying what is wrong, if a file is missing or damaged."""
    folder = Path(folder)
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EggsError(f"There is no run in {folder}: {REPORT} is missing.") from error
    except (OSError, ValueError) as error:
        raise EggsError(f"The run in {folder} is damaged: {REPORT} cannot be read; run it again.") from error
    if not isinstance(report, dict) or (missing := [k for k in _REQUIRED if k not in report]):
        lacking = ", ".join(missing) if isinstance(report, dict) else "everything"
        raise EggsError(f"The run in {folder} is damaged: {REPORT} lacks {lacking}; run it again.")
    masks, permutations = {}, {}
    try:
        with safe_open(folder / MASKS, framework="pt") as file:
            shapes = json.loads((file.metadata() or {})["shapes"])
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no dict
                if name.removesuffix(".permutation") in shapes and name.endswith(".permutation"):
                    permutations[name.removesuffix(".permutation")] = file.get_tensor(name).long()
                else:
                    masks[name] = file.get_tensor(name)
        for layer in report["layers"]:
            unpack_bits(masks[layer["name"]], tuple(layer["shape"]))
    except FileNotFoundError as error:
        raise EggsError(f"The run in {folder} has no {MASKS}; run it again.") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, EggsError) as error:
        raise EggsError(f"The run in {folder} is damaged: {MASKS} cannot be read; run it again.") from error
    return Run(report, masks, permutations)
