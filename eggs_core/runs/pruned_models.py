"""The weights behind a finished run: kept from its pruning, masked anew, or pruned once more."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eggs_core.cache import Bounded
from eggs_core.config import PruneConfig
from eggs_core.device import best_device, check_room, free_memory
from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.models.fingerprints import check_same_weights, same_weights
from eggs_core.models.loading import LoadedModel
from eggs_core.packed.grid import Grid, rounds_tables
from eggs_core.pattern import Patterns
from eggs_core.progress import Progress, memory_errors
from eggs_core.pruning.block_fit import FitStep
from eggs_core.pruning.loop import prune_steps
from eggs_core.pruning.rounding import round_tables
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import COPIES
from eggs_core.runs.masked import apply_masks
from eggs_core.runs.recovery import Course, recovery_steps, take_up
from eggs_core.runs.rotated import dense_copy
from eggs_core.runs.run import Run
from eggs_core.runs.streamed import check_in_memory
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import calibration_windows

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

KEPT_BYTES = 3 << 30  # of the models of all kept runs together, at most
SHARE = 0.25  # of the memory that would be free without them, at most
KEPT_RUNS = 4


@dataclass(frozen=True, slots=True)
class PrunedModel:
    """One run's models: `dense` as it was, and `zeros` pruned with its zeros stored.

    `masks`, `permutations` and, of rounded values, `grids` are what it was pruned with.
    """

    dense: LoadedModel
    zeros: PreTrainedModel
    masks: dict[str, torch.Tensor]
    permutations: dict[str, torch.Tensor]
    origin: str  # "kept", "masked" or "pruned again"
    grids: Mapping[str, Grid]

    def models(self) -> list[PreTrainedModel]:
        """All of them."""
        return [self.dense.model, self.zeros]

    def tensors(self) -> dict[int, int]:
        """Bytes of every tensor that these models hold, by its address: shared ones are there once."""
        return {t.data_ptr(): t.nbytes for m in self.models() for t in (*m.parameters(), *m.buffers())}


@dataclass(frozen=True, slots=True)
class RecoveredModel(PrunedModel):
    """One run's models, and `packed`: the pruned one without its zeros."""

    packed: PreTrainedModel

    @classmethod
    def of(cls, found: PrunedModel, patterns: Patterns) -> RecoveredModel:
        """With a packed twin of the pruned model; what is not packed is shared."""
        from eggs_core.packed.model import packed_copy  # here, as it imports torch at once

        packed = packed_copy(found.zeros, found.masks, patterns, found.permutations, found.grids)
        return cls(found.dense, found.zeros, found.masks, found.permutations, found.origin, found.grids, packed)

    def models(self) -> list[PreTrainedModel]:
        """All of them."""
        return [self.dense.model, self.zeros, self.packed]


class WeightCache(Bounded[str, PrunedModel]):
    """The pruned models of recent runs by run key, bounded in bytes and number; safe to share between threads.

    Models that are larger than the whole cache are not kept.
    """

    def __init__(self, most_bytes: int | None = None, most_runs: int = KEPT_RUNS) -> None:
        most = self._share if most_bytes is None else most_bytes
        super().__init__(most, _bytes, most_values=most_runs)

    def _share(self) -> float:
        return min(KEPT_BYTES, SHARE * (free_memory(best_device()) + self.used()))


def _bytes(kept: Collection[PrunedModel]) -> int:
    """Bytes of all tensors of these models; the dense model that several runs share counts once."""
    found: dict[int, int] = {}
    for models in kept:
        found |= models.tensors()
    return sum(found.values())


WEIGHTS = WeightCache()


def keep(event: Finished, cache: WeightCache = WEIGHTS) -> None:
    """Keep the pruned model that a pipeline has just finished."""
    run = event.run
    if event.dense is None or event.model is None:  # larger than memory
        return
    cache.put(run.key, PrunedModel(event.dense, event.model, _masks(run), run.permutations, "kept", event.grids))


def recover(
    run: Run, cache: WeightCache = WEIGHTS, models: Models = CACHE
) -> Generator[Progress, None, RecoveredModel]:
    """Yield progress and return the models of a finished run, packed twin included: models = yield from recover(run).

    A run in the cache comes at once. A run without reconstruction is the dense weights under its masks. Any other run
    is pruned again with its own configuration. What recovery learned is on disk, or is learned again. Raises EggsError
    when that cannot be done, and when the model's weights have changed since the run.
    """
    found = cache.get(run.key)
    if found is not None and not same_weights(run.report.get("fingerprint"), found.dense):
        found = None  # of a run with the same configuration and other weights
    if found is None:
        check_in_memory(run)
    with memory_errors("Rebuilding the pruned model"):
        if found is None:
            config = run.config
            yield Progress(f"Loading {config.model}", 0.0)
            dense = models.get(config.model)
            check_same_weights(run.report, dense)
            check_room(COPIES * dense.nbytes, dense.device, f"Rebuilding the pruned {config.model}")
            found = yield from _made_anew(run, dense)
        if not isinstance(found, RecoveredModel):
            yield Progress("Packing", 1.0)
            found = RecoveredModel.of(found, run.patterns)
            cache.put(run.key, found)
    return found


def _made_anew(run: Run, dense: LoadedModel) -> Generator[Progress, None, PrunedModel]:
    """A run's pruned model from the dense one; what recovery learned is taken up, or learned again."""
    config, text = run.config, bundled_text("calibration")
    if config.recovery_tokens:
        found = _masked(run, dense)
        course = Course(config, dense, found.masks, text, run.patterns, run.permutations)
        if (grids := take_up(found.zeros, run.report, course)) is not None:
            if rounds_tables(config.bits):
                round_tables(found.zeros)
            return replace(found, grids=grids)
        _check_text(config)
    found = (yield from _prune_again(run, dense)) if config.refits else _masked(run, dense)
    if config.recovery_tokens:
        course = Course(config, dense, found.masks, text, run.patterns, found.permutations, found.grids)
        yield from _progress(recovery_steps(found.zeros, course, 0.0, 1.0))
    return found


def _masked(run: Run, dense: LoadedModel) -> PrunedModel:
    zeros = dense_copy(run, dense)
    apply_masks(zeros, run)
    return PrunedModel(dense, zeros, _masks(run), run.permutations, "masked", {})


def _progress(steps: Iterator[object]) -> Iterator[Progress]:
    """The progress among the values of some steps."""
    yield from (step for step in steps if isinstance(step, Progress))


def _check_text(config: PruneConfig) -> None:
    """Raise EggsError if what was read to choose and to learn is not at hand."""
    if config.calibration != "bundled":
        raise EggsError("This run's weights are no longer in memory, nor is its calibration text; press Prune again.")


def _masks(run: Run) -> dict[str, torch.Tensor]:
    return {layer["name"]: run.mask(layer["name"]) for layer in run.report["layers"]}


def _prune_again(run: Run, dense: LoadedModel) -> Generator[Progress, None, PrunedModel]:
    """Prune a copy as the run did; another machine may round otherwise, so its own masks are what counts."""
    config, total = run.config, len(run.report["layers"])
    _check_text(config)
    windows = calibration_windows(
        dense.tokenizer,
        bundled_text("calibration"),
        config.calibration_windows,
        config.calibration_length,
        config.seed,
        config.bos,
    )
    dense.check_tokens(windows)
    yield Progress("The re-fitted weights are not stored: pruning again", 0.0)
    model, permutations, grids = dense_copy(run, dense), {}, {}
    masks: dict[str, torch.Tensor] = {}
    for event in prune_steps(model, windows, config):
        if isinstance(event, FitStep):
            yield Progress(f"Pruning again: {event.text}", len(masks) / total)
            continue
        masks[event.name] = event.mask
        if event.permutation is not None:
            permutations[event.name] = event.permutation
        if event.grid is not None:
            grids[event.name] = event.grid
        yield Progress(f"Pruning again: layer {len(masks)} of {total}", len(masks) / total)
    return PrunedModel(dense, model, masks, permutations, "pruned again", grids)
