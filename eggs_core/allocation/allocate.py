"""The plan of least predicted loss within a budget of bytes, kept weights or decode time."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf

from eggs_core.allocation.grouped import grouped_rules
from eggs_core.allocation.knapsack import least_loss
from eggs_core.allocation.losses import losses_by_layer, sample
from eggs_core.allocation.rates import decode_rates
from eggs_core.allocation.sizes import rows_of, sizes_in
from eggs_core.allocation.table import (
    BUDGETS,
    CANDIDATES,
    Choice,
    Estimate,
    Sensitivities,
    estimate,
    sparsity_order,
)
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.limits import check_config
from eggs_core.models.architectures import LinearLayer, linear_layers
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress, memory_errors, part_of
from eggs_core.rules import choice_text, parse_choice
from eggs_core.text.named import chosen_text
from eggs_core.text.sources import Text
from eggs_core.text.windows import calibration_windows, has_beginning

ROUNDED = 1e-12  # by which a share of a number of bytes may differ from the share that was meant
TIMING = 0.8  # share of the work after which layers are timed, where they are


@dataclass(frozen=True, slots=True)
class Allocation:
    """A plan: each layer's choice by its name, and the same as a default pattern and rules that a run is given."""

    patterns: dict[str, Choice]
    pattern: NMPattern
    rules: tuple[str, ...]
    predicted: Estimate
    dense: Estimate
    gap: float  # share of the predicted loss by which another plan within the budget may be better; 0 for the best


@dataclass(frozen=True, slots=True)
class Allocated:
    """The end of an allocation: the plan, and all that it was chosen from."""

    plan: Allocation
    sensitivities: Sensitivities


def parse_candidates(texts: Sequence[str]) -> list[Choice]:
    """Candidates from dense to the sparsest, each once; raises EggsError for what is none, and for none but dense."""
    found = sorted({parse_choice(text) for text in texts}, key=sparsity_order)
    for choice in filter(None, found):
        choice.check_packs()
    if not any(found):
        raise EggsError("Name at least one N:M pattern as a candidate, such as 4:8 and 3:8.")
    return found


def check_budget(budget: float, by: str) -> None:
    """Raise EggsError for a budget that is no share above 0, or of nothing that is counted."""
    if by not in BUDGETS:
        raise EggsError(f"A budget is by {', '.join(BUDGETS)}; got {str(by)[:40]!r}.")
    if not 0 < budget <= 1:
        raise EggsError(f"A budget is a share of the dense layers' {BUDGETS[by]} above 0 and up to 1; got {budget:g}.")


def allocate(
    config: PruneConfig,
    budget: float,
    candidates: Sequence[str] = CANDIDATES,
    *,
    by: str = "bytes",
    texts: Mapping[str, Text] | None = None,
    models: Models = CACHE,
) -> Iterator[Progress | Allocated]:
    """Find the plan of least predicted loss within a budget; yields progress, and Allocated in the end.

    config: the model, the method and the calibration; its pattern and rules are not used. budget: a share of the dense
    bytes, weights or decode time (`by`) of the layers that can be pruned. The rest of the model is not counted. The
    dense model is not changed. Closing the generator stops after the window or block at hand. Raises EggsError for
    what cannot run.
    """
    chosen = parse_candidates(candidates)
    check_budget(budget, by)
    sensitivities = yield from measure_sensitivities(config, chosen, timed=by == "time", texts=texts, models=models)
    yield Allocated(best_plan(sensitivities, budget, chosen, by=by), sensitivities)


def measure_sensitivities(
    config: PruneConfig,
    candidates: Sequence[Choice],
    *,
    timed: bool = False,
    texts: Mapping[str, Text] | None = None,
    models: Models = CACHE,
) -> Generator[Progress, None, Sensitivities]:
    """What each layer of a model loses, takes and, if `timed`, costs by each candidate; arguments as for `allocate`."""
    check_config(config)
    if config.rotates:
        raise EggsError("What layers lose is measured without a rotation; choose the rotation none for the plan.")
    patterns = [pattern for pattern in candidates if pattern is not None]
    yield Progress(f"Loading {config.model}", 0.0)
    text = chosen_text(config.calibration, "calibration", texts)
    dense = models.get(config.model)
    dense.check_window(config.calibration_length)
    layers = list(linear_layers(dense.model))
    _check_some_fit(layers, patterns)
    windows = calibration_windows(
        dense.tokenizer,
        text,
        config.calibration_windows,
        config.calibration_length,
        config.seed,
        config.with_bos(has_beginning(dense.tokenizer)).bos,
    )
    dense.check_tokens(windows)
    tokens = sample(windows, config.refits)
    with memory_errors("Measuring what each layer loses"):
        steps = losses_by_layer(dense.model, tokens, config, patterns)
        losses = yield from part_of(steps, 0.0, TIMING if timed else 1.0)
        rates = None
        if timed:
            timing = decode_rates([layer.shape for layer in layers], patterns, dense.model.dtype, dense.device)
            rates = yield from part_of(timing, TIMING, 1.0)
    rows = rows_of(sizes_in(dense.model), losses, config, rates)
    return Sensitivities(config.model, config.in_words(), tokens.numel(), rows)


def best_plan(
    sensitivities: Sensitivities, budget: float, candidates: Sequence[Choice] | None = None, *, by: str = "bytes"
) -> Allocation:
    """The plan of least predicted loss within a share of the dense layers' bytes, weights or decode time.

    candidates: by default all that were measured; a layer that none of them fits stays dense. Raises EggsError, naming
    the least possible, for a budget below it.
    """
    check_budget(budget, by)
    wanted = sensitivities.candidates if candidates is None else sorted(candidates, key=sparsity_order)
    field = "seconds" if by == "time" else by
    if (whole := getattr(sensitivities.dense, field)) is None:
        raise EggsError("Decode time was not measured with these sensitivities; measure them with a budget by time.")
    choices = [[c for c in wanted if c in row.cells] or [None] for row in sensitivities.layers]
    width = max(map(len, choices))
    rows = list(zip(sensitivities.layers, choices, strict=True))

    def table(name: str) -> list[list[float]]:
        return [[getattr(row.cells[c], name) for c in own] + [inf] * (width - len(own)) for row, own in rows]

    costs, most = table(field), budget * whole * (1 + ROUNDED)
    if (least := sum(map(min, costs))) > most:
        raise EggsError(
            f"The budget of {budget:g} is below the least possible, {ceil(least / whole * 1e4) / 1e4:g} of the dense "
            f"layers' {BUDGETS[by]}; raise it, or add a candidate that is sparser than {choice_text(wanted[-1])}."
        )
    found = least_loss(table("loss"), costs, most)
    patterns = {row.name: own[pick] for (row, own), pick in zip(rows, found.picks, strict=True)}
    pattern, rules = grouped_rules(sensitivities.layers, patterns)
    predicted = estimate(sensitivities, patterns)
    return Allocation(patterns, pattern, rules, predicted, sensitivities.dense, found.gap)


def _check_some_fit(layers: Sequence[LinearLayer], patterns: Sequence[NMPattern]) -> None:
    """Raise EggsError, naming a layer, if no candidate divides the width of any."""
    if not any(layer.shape[1] % pattern.group == 0 for layer in layers for pattern in patterns):
        patterns[0].check(layers[0].name, layers[0].shape)
