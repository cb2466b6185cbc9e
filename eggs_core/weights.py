"""The weights behind a finished run: kept from its pruning, masked anew, or pruned once more."""

import copy
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from eggs_core.calibration import bundled_text, calibration_windows
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.models import LoadedModel
from eggs_core.packed import packed_copy
from eggs_core.pattern import NMPattern
from eggs_core.pipeline import CACHE, Finished, ModelCache, Progress, memory_errors
from eggs_core.prune import prune
from eggs_core.runs import Run
from eggs_core.streamed_run import check_in_memory

KEPT_BYTES = 2 << 30  # of pruned and packed models together
KEPT_RUNS = 4


@dataclass(frozen=True, slots=True)
class PrunedModel:
    """One run's models: `dense` as it was, `zeros` pruned with its zeros stored, `packed` the same without them.

    `masks` and `permutations` are what it was pruned with; `packed` is None until somebody asks for it.
    """

    dense: LoadedModel
    zeros: PreTrainedModel
    masks: dict[str, torch.Tensor]
    permutations: dict[str, torch.Tensor]
    origin: str  # "kept", "masked" or "pruned again"
    packed: PreTrainedModel | None = field(default=None)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors that these models hold beside the dense one; shared ones count once."""
        models = [m for m in (self.zeros, self.packed) if m is not None]
        return sum({t.data_ptr(): t.nbytes for m in models for t in (*m.parameters(), *m.buffers())}.values())


class WeightCache:
    """The pruned models of recent runs by run key, bounded in bytes and number; safe to share between threads."""

    def __init__(self, most_bytes: int = KEPT_BYTES, most_runs: int = KEPT_RUNS) -> None:
        self._most_bytes, self._most_runs = most_bytes, most_runs
        self._kept: OrderedDict[str, PrunedModel] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> PrunedModel | None:
        """The models of that run, if they are still here."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, models: PrunedModel) -> None:
        """Keep a run's models; the oldest make room. Models larger than the whole cache are not kept."""
        with self._lock:
            self._kept.pop(key, None)
            if models.nbytes > self._most_bytes:
                return
            self._kept[key] = models
            while len(self._kept) > self._most_runs or sum(m.nbytes for m in self._kept.values()) > self._most_bytes:
                self._kept.popitem(last=False)


WEIGHTS = WeightCache()


def keep(event: Finished, cache: WeightCache = WEIGHTS) -> None:
    """Keep the pruned model that a pipeline has just finished."""
    run = event.run
    if event.model is None:  # larger than memory
        return
    cache.put(run.key, PrunedModel(event.dense, event.model, _masks(run), run.permutations, "kept"))


def weights_at_hand(run: Run, cache: WeightCache = WEIGHTS) -> bool:
    """Can `recover` give this run's weights without pruning again?"""
    return cache.get(run.key) is not None or run.report["config"]["reconstruction"] == "none"


def recover(run: Run, cache: WeightCache = WEIGHTS, models: ModelCache = CACHE) -> Iterator[Progress | PrunedModel]:
    """The models of a finished run, packed twin included, with progress before them; the PrunedModel comes last.

    Runs in the cache come at once; runs without reconstruction are the dense weights under their masks; the others are
    pruned again with the run's own configuration. Raises EggsError when that cannot be done.
    """
    found = cache.get(run.key)
    if found is None:
        check_in_memory(run)
    with memory_errors("Rebuilding the pruned model"):
        if found is None:
            config = PruneConfig.from_dict(run.report["config"])
            yield Progress(f"Loading {config.model}", 0.0)
            dense = models.get(config.model)
            if config.reconstruction == "none":
                zeros, masks = copy.deepcopy(dense.model), _masks(run)
                _apply(zeros, masks)
                found = PrunedModel(dense, zeros, masks, run.permutations, "masked")
            else:
                found = yield from _prune_again(dense, config, len(run.report["layers"]))
        if found.packed is None:
            yield Progress("Packing", 1.0)
            pattern = NMPattern.parse(run.report["pattern"])
            packed = packed_copy(found.zeros, found.masks, pattern, found.permutations)
            found = dataclasses.replace(found, packed=packed)
            cache.put(run.key, found)
    yield found


def _masks(run: Run) -> dict[str, torch.Tensor]:
    return {layer["name"]: run.mask(layer["name"]) for layer in run.report["layers"]}


@torch.no_grad()
def _apply(model: PreTrainedModel, masks: dict[str, torch.Tensor]) -> None:
    """Set the pruned weights to zero; masks are (out, in), as is every weight but Conv1D's."""
    for name, mask in masks.items():
        layer = model.get_submodule(name)
        mask = mask.t() if type(layer).__name__ == "Conv1D" else mask
        if layer.weight.shape != mask.shape:
            raise EggsError(f"The run's mask of {name} does not fit the model; it has changed since. Prune it again.")
        layer.weight.mul_(mask.to(layer.weight.device))


def _prune_again(dense: LoadedModel, config: PruneConfig, total: int) -> Generator[Progress, None, PrunedModel]:
    """Prune a copy as the run did; another machine may round otherwise, so its own masks are what counts."""
    if config.calibration != "bundled":
        raise EggsError("This run's weights are no longer in memory, nor is its calibration text; press Prune again.")
    windows = calibration_windows(
        dense.tokenizer, bundled_text("calibration"), config.calibration_windows, config.calibration_length, config.seed
    )
    yield Progress("The re-fitted weights are not stored: pruning again", 0.0)
    model, masks, permutations = copy.deepcopy(dense.model), {}, {}
    for report in prune(model, windows, config):
        masks[report.name] = report.mask
        if report.permutation is not None:
            permutations[report.name] = report.permutation
        yield Progress(f"Pruning again: layer {len(masks)} of {total}", len(masks) / total)
    return PrunedModel(dense, model, masks, permutations, "pruned again")
