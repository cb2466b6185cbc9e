"""Finished runs on disk: report.json and masks.safetensors in one folder, written atomically."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from eggs_core.errors import EggsError
from eggs_core.masks import unpack_bits
from eggs_core.run_folder import DETAILS, MASKS, REPORT, current, new_part, publish, steady

SCHEMA = 1  # of report.json and the files beside it
_REQUIRED = ("model", "pattern", "method", "seed", "layers", "evaluation", "size")


@dataclass(slots=True, weakref_slot=True)
class Run:
    """One run: its report (plain values, ready for JSON) and its masks by layer name, bit-packed uint8 (out, ⌈in/8⌉).

    `packed_topn` holds what plain top-N would have kept by the same scores, `permutations` the channel orders.
    """

    report: dict[str, Any]
    packed_masks: dict[str, torch.Tensor]
    packed_topn: dict[str, torch.Tensor] = field(default_factory=dict)
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

    def topn_mask(self, name: str) -> torch.Tensor:
        """What plain top-N keeps by the same scores, bool (out, in); the mask itself where that was not recorded."""
        if name not in self.packed_topn:
            return self.mask(name)
        return unpack_bits(self.packed_topn[name], tuple(self.layer(name)["shape"]))


def save_run(run: Run, folder: Path, beside: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write a run, and texts `beside` it by file name, into `folder`, where other files stay.

    Whatever ends the process, a reader finds the run that was there before or this one. Raises EggsError when the disk
    is full or the folder cannot be written.
    """
    folder = Path(folder).absolute()
    try:
        part = new_part(folder)
    except OSError as error:
        raise EggsError(f"The run cannot be saved in {folder}: {error.strerror}; choose another folder.") from error
    try:
        for name, text in beside.items():
            (part / name).write_text(text, encoding="utf-8")
        shapes = json.dumps({layer["name"]: layer["shape"] for layer in run.report["layers"]})
        masks = {name: mask.contiguous() for name, mask in run.packed_masks.items()}
        save_file(masks, part / MASKS, metadata={"shapes": shapes})
        details = {f"{name}.topn": mask.contiguous() for name, mask in run.packed_topn.items()}
        details |= {f"{name}.permutation": order.to(torch.int32) for name, order in run.permutations.items()}
        if details:
            save_file(details, part / DETAILS)
        (part / REPORT).write_text(json.dumps(run.report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        part.chmod(0o755)
        publish(part, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EggsError(f"The run could not be saved in {folder}: {reason}; free some space and try again.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


@steady
def load_run(folder: Path) -> Run:
    """Read a run; raises EggsError, saying what is wrong, if a file is missing or damaged."""
    folder = Path(folder)
    try:
        report = json.loads(current(folder, REPORT).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EggsError(f"There is no run in {folder}: {REPORT} is missing.") from error
    except (OSError, ValueError) as error:
        raise EggsError(f"The run in {folder} is damaged: {REPORT} cannot be read; run it again.") from error
    if isinstance(report, dict) and report.get("schema", SCHEMA) != SCHEMA:
        raise EggsError(f"The run in {folder} was written by another version of EGGS Explorer; run it again.")
    if not isinstance(report, dict) or (missing := [k for k in _REQUIRED if k not in report]):
        lacking = ", ".join(missing) if isinstance(report, dict) else "everything"
        raise EggsError(f"The run in {folder} is damaged: {REPORT} lacks {lacking}; run it again.")
    try:
        masks = _read(current(folder, MASKS))
        for layer in report["layers"]:
            unpack_bits(masks[layer["name"]], tuple(layer["shape"]))
        details = _read(file) if (file := current(folder, DETAILS)).is_file() else {}
        _check_details(details, {layer["name"]: tuple(layer["shape"]) for layer in report["layers"]})
    except FileNotFoundError as error:
        raise EggsError(f"The run in {folder} has no {MASKS}; run it again.") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, EggsError) as error:
        raise EggsError(f"The run in {folder} is damaged: its masks cannot be read; run it again.") from error
    named = lambda suffix: {k.removesuffix(suffix): v for k, v in details.items() if k.endswith(suffix)}  # noqa: E731
    permutations = {name: order.long() for name, order in named(".permutation").items()}
    return Run(report, masks, named(".topn"), permutations)


def _check_details(details: dict[str, torch.Tensor], shapes: dict[str, tuple[int, int]]) -> None:
    """Raise ValueError or KeyError for an order that is none, or a mask of another shape."""
    for key, value in details.items():
        name, _, kind = key.rpartition(".")
        if kind == "topn":
            unpack_bits(value, shapes[name])
        elif kind == "permutation" and not torch.equal(value.sort().values.long(), torch.arange(shapes[name][1])):
            raise ValueError(f"{name}: not an order of its columns")


def _read(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
