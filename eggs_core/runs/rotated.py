"""Rotation as a stage of a run: the turned copy that is pruned, what the report says of it, and the copy made anew."""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.models.loading import LoadedModel
from eggs_core.models.residual_stream import CannotRotate
from eggs_core.models.rotation import Rotation
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress, part_of
from eggs_core.report_types import Report, Rotated
from eggs_core.units import size

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

    from eggs_core.runs.run import Run


class Copied(NamedTuple):
    """A copy of the dense model that will be pruned, the rotation in it, and what the report says of that."""

    model: PreTrainedModel
    rotation: Rotation | None = None
    said: Rotated | None = None


def copied(
    dense: LoadedModel,
    windows: torch.Tensor,
    patterns: Mapping[str, NMPattern],
    config: PruneConfig,
    first: float,
    last: float,
) -> Generator[Progress, None, Copied]:
    """A copy of the dense model, rotated if the configuration asks for it, with progress between two shares."""
    if not config.rotates:
        return Copied(copy.deepcopy(dense.model))
    steps = config.entries()["rotation"].load()(dense.model, windows, patterns, config.seed)
    learned = yield from part_of(steps, first, last)
    if learned.rotation is None:
        return Copied(learned.model, None, {"why": learned.why})
    said = {
        "steps": learned.steps,
        "seconds": learned.seconds,
        "before": dict(learned.before),
        "after": dict(learned.after),
        "added_bytes": _bytes(learned.model) - _bytes(dense.model),
    }
    return Copied(learned.model, learned.rotation, cast(Rotated, said))


def left_as_it_is(config: PruneConfig, why: str) -> Rotated | None:
    """What a report says where no rotation can be learned at all; None if none was asked for."""
    return {"why": why} if config.rotates else None


def dense_copy(run: Run, dense: LoadedModel) -> PreTrainedModel:
    """A copy of the dense model that a run's masks are for: with the run's rotation in its weights."""
    model = copy.deepcopy(dense.model)
    if run.rotation is not None:
        turn(run, model)
    return model


def turn(run: Run, model: PreTrainedModel) -> None:
    """Fold a run's rotation, if it has one, into a dense model, in place; raises EggsError for another model's."""
    if run.rotation is None:
        return
    try:
        run.rotation.fold_into(model)
    except CannotRotate as error:
        raise CannotRotate(f"The rotation of the run {run.key} does not fold into its model, as {error}.") from error


def check_own_basis(run: Run) -> None:
    """Raise EggsError for a run whose weights are rotated: what is made from the model's own would be wrong."""
    if "before" in run.report.get("rotation", {}):
        raise EggsError(
            "The weights of this run are rotated, and a single layer's are not made anew here; its masks, scores and "
            "graphs are the run's own."
        )


def rotation_words(report: Report) -> str:
    """What became of a rotation, in one or two sentences; "" for a run that asked for none."""
    found = report.get("rotation")
    if found is None:
        return ""
    if "before" not in found:
        return f"The model was pruned without a rotation, as {found.get('why', 'none was learned')}."
    before, after = (sum(shares.values()) / max(len(shares), 1) for shares in (found["before"], found["after"]))
    words = (
        "The model was rotated before it was pruned, which its weights hold; of the importance the pattern drops "
        f"{after:.1%} instead of {before:.1%}."
    )
    added = found.get("added_bytes", 0)
    return f"{words} The head is no longer tied to the embeddings, which takes {size(added)} more." if added else words


def _bytes(model: PreTrainedModel) -> int:
    return sum({p.data_ptr(): p.nbytes for p in model.parameters()}.values())
