"""Finished runs on disk: report.json and masks.safetensors in one folder, written atomically, checked when read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from safetensors import SafetensorError, safe_open

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError, OtherVersion
from eggs_core.heavy import safetensors_torch, torch
from eggs_core.masks.bits import unpack_bits
from eggs_core.masks.codes import pack_masks, unpack_masks
from eggs_core.models.rotation import Rotation
from eggs_core.pattern import NMPattern
from eggs_core.reading import read_json
from eggs_core.report_types import LayerEntry, Report
from eggs_core.runs.folder import DETAILS, MASKS, REPORT, current, new_part, publish, steady
from eggs_core.runs.notebook import as_html
from eggs_core.runs.patterns import layer_pattern
from eggs_core.runs.report import checked_report


@dataclass(slots=True, weakref_slot=True, eq=False)
class Run:
    """One run: its report (plain values, ready for JSON) and its masks by layer name, bit-packed uint8 (out, ⌈in/8⌉).

    `packed_topn` holds what plain top-N would have kept by the same scores. It holds all layers, or none in a run of
    more than MOST_TOPN weights. `permutations` holds the channel orders, int64 (in,).
    """

    report: Report
    packed_masks: dict[str, torch.Tensor]
    packed_topn: dict[str, torch.Tensor] = field(default_factory=dict)
    permutations: dict[str, torch.Tensor] = field(default_factory=dict)
    rotation: Rotation | None = None  # folded into the weights that the masks are for
    _places: dict[str, int] = field(default_factory=dict, init=False, repr=False)  # of layers in the report

    @property
    def key(self) -> str:
        """The configuration's hash."""
        return self.report["key"]

    @property
    def config(self) -> PruneConfig:
        """What the run was asked to do."""
        return PruneConfig.from_dict(self.report["config"])

    @property
    def pattern(self) -> NMPattern:
        """The N:M pattern of layers without a rule of their own."""
        return NMPattern.parse(self.report["pattern"])

    @property
    def patterns(self) -> dict[str, NMPattern]:
        """Each pruned layer's pattern by its name."""
        return {layer["name"]: layer_pattern(layer, self.report) for layer in self.report["layers"]}

    def check_packs(self) -> None:
        """Raise EggsError for a run that has no packed form, as one of its patterns is unstructured."""
        self.pattern.check_packs()
        for pattern in self.patterns.values():
            pattern.check_packs()

    @property
    def packs(self) -> bool:
        """Is there a packed form?"""
        return all(pattern.packs for pattern in (self.pattern, *self.patterns.values()))

    @property
    def ratio(self) -> float:
        """Perplexity of the pruned model over that of the dense one."""
        evaluation = self.report["evaluation"]
        return evaluation["pruned"]["perplexity"] / evaluation["dense"]["perplexity"]

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight of the pruned layers takes packed: values, positions, scales and channel orders."""
        weights = sum(rows * columns for rows, columns in map(layer_shape, self.report["layers"]))
        return 8 * self.report["size"]["packed_pruned"] / max(weights, 1)

    def _repr_html_(self) -> str:
        return as_html(self.report, self.ratio)  # what a notebook shows

    @property
    def has_topn(self) -> bool:
        """Were the masks of plain top-N recorded?"""
        return bool(self.packed_topn)

    def layer(self, name: str) -> LayerEntry:
        """The report of one layer; raises EggsError if the run has none of that name."""
        layers, place = self.report["layers"], self._places.get(name, -1)
        if not 0 <= place < len(layers) or layers[place]["name"] != name:  # not asked for yet, or another report
            self._places = {layer["name"]: place for place, layer in enumerate(layers)}
            if name not in self._places:
                raise EggsError(f"This run has no layer {name!r}.")
        return layers[self._places[name]]

    def mask(self, name: str) -> torch.Tensor:
        """One layer's mask, bool (out, in); raises EggsError if the run has none of that name."""
        shape = layer_shape(self.layer(name))
        if name not in self.packed_masks:
            raise EggsError(f"The mask of layer {name} is missing from this run; run it again.")
        return unpack_bits(self.packed_masks[name], shape)

    def topn_mask(self, name: str) -> torch.Tensor:
        """What plain top-N keeps by the same scores, bool (out, in); raises EggsError where `has_topn` is false."""
        if name not in self.packed_topn:
            raise EggsError(f"What top-N keeps in {name} was not recorded with this run.")
        return unpack_bits(self.packed_topn[name], layer_shape(self.layer(name)))


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
        masks, details, about = _stored(run)
        safetensors_torch.save_file(masks, part / MASKS, metadata=about)
        if details:
            safetensors_torch.save_file(details, part / DETAILS, metadata=about)
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
    """Read a run; raises EggsError, saying what is wrong, if a file is missing or damaged.

    Its report is checked (report.checked_report), and every mask keeps exactly N in every group.
    """
    folder = Path(folder)
    try:
        return _loaded(folder)
    except FileNotFoundError as error:
        missing = MASKS if current(folder, REPORT).is_file() else REPORT
        raise EggsError(f"There is no run in {folder}: {missing} is missing.") from error
    except OtherVersion as error:
        raise EggsError(
            f"The run in {folder} was written by another version of EGGS Explorer; run it again."
        ) from error
    except EggsError as error:
        message = str(error).rstrip(".")
        raise EggsError(f"The run in {folder} is damaged: {message[:1].lower()}{message[1:]}; run it again.") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise EggsError(f"The run in {folder} is damaged: its masks cannot be read; run it again.") from error


def _loaded(folder: Path) -> Run:
    report = read_report(folder)
    shapes = _shapes(report)
    patterns = {layer["name"]: layer_pattern(layer, report) for layer in report["layers"]}
    masks, about = _read(current(folder, MASKS))
    details, about_details = _read(file) if (file := current(folder, DETAILS)).is_file() else ({}, {})
    rotation = Rotation.stored(details)
    known = {f"{n}{kind}" for n in shapes for kind in (".topn", ".permutation")}
    if unknown := sorted(details.keys() - known - (rotation.tensors().keys() if rotation else set())):
        raise EggsError(f"{DETAILS} holds {unknown[0][:200]!r}, which belongs to no layer of the report.")
    orders, topn = _orders(_named(details, ".permutation"), shapes), _named(details, ".topn")
    packed = unpack_masks(masks, about, shapes, patterns, orders)
    if (rotation is None) == ("before" in report.get("rotation", {})):
        raise EggsError("Its rotation is not the one that its report tells of.")
    best = unpack_masks(topn, about_details, shapes, patterns, {}) if topn else {}
    return Run(report, packed, best, orders, rotation)


def read_report(folder: Path) -> Report:
    """The checked report of the run in a folder; raises FileNotFoundError where there is none, EggsError if damaged."""
    try:
        return checked_report(read_json(current(folder, REPORT)))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise EggsError(f"{REPORT} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def layer_shape(layer: LayerEntry) -> tuple[int, int]:
    """(out_features, in_features) of a layer of a report."""
    rows, columns = layer["shape"]
    return rows, columns


def _shapes(report: Report) -> dict[str, tuple[int, int]]:
    return {layer["name"]: layer_shape(layer) for layer in report["layers"]}


def _stored(run: Run) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of the two files that a run's masks and orders go to, and the metadata of both."""
    shapes = _shapes(run.report)
    masks, about = pack_masks(run.packed_masks, shapes, run.patterns, run.permutations)
    topn = pack_masks(run.packed_topn, shapes, run.patterns, {})[0] if run.has_topn else {}
    details = {f"{name}.topn": mask for name, mask in topn.items()}
    details |= {f"{name}.permutation": order.to(torch.int32) for name, order in run.permutations.items()}
    details |= run.rotation.tensors() if run.rotation else {}
    return masks, details, about


def _orders(found: dict[str, torch.Tensor], shapes: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
    """Channel orders as int64; raises EggsError for what is no order of a layer's columns."""
    for name, order in found.items():
        columns = torch.arange(shapes[name][1]) if name in shapes else torch.empty(0)
        if order.dtype != torch.int32 or not torch.equal(order.sort().values.long(), columns):
            raise EggsError(f"The channel order of {name[:200]} is no order of its columns.")
    return {name: order.long() for name, order in found.items()}


def _named(tensors: dict[str, torch.Tensor], kind: str) -> dict[str, torch.Tensor]:
    return {name.removesuffix(kind): tensor for name, tensor in tensors.items() if name.endswith(kind)}


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A safetensors file's tensors, in memory, as whoever changes a mapped file ends the process; and its metadata."""
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
        return found, file.metadata() or {}
