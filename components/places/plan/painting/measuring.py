"""What is measured for a plan, and where it is kept: losses of layers by method, times of their shapes by machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from components.jobs.work import Work
from eggs_core.allocation.rates import Rates, decode_rates
from eggs_core.allocation.sizes import LayerSize
from eggs_core.allocation.stored import SHIPPED, MeasuredLosses, load_losses, losses_key, measured_losses
from eggs_core.allocation.table import Choice
from eggs_core.cache import Bounded
from eggs_core.config import PruneConfig
from eggs_core.device import best_device
from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.limits import check_config
from eggs_core.models.source import BUNDLED, known_fingerprint, model_source
from eggs_core.progress import Progress
from eggs_core.text.sources import Text

MOST_LAYERS, MOST_MODELS = 50_000, 64
RATES_SECONDS = 5.0  # until a first measurement tells

# A calibration text is named by its hash, so nobody finds what was measured on another's.
_LOSSES: Bounded[tuple, MeasuredLosses] = Bounded(
    MOST_LAYERS, lambda kept: sum(len(found.losses) for found in kept), keep_newest=True
)
_RATES: Bounded[str, Rates] = Bounded(MOST_MODELS)


@cache
def shipped_losses() -> dict[str, MeasuredLosses]:
    """The losses that ship with the app, by their keys; a damaged file is left out."""
    found = {}
    for path in sorted(SHIPPED.glob("*.json")):
        try:
            one = load_losses(path)
            found[losses_key(PruneConfig.from_dict(one.config))] = one
        except EggsError:
            continue
    return found


def losses_of(config: PruneConfig) -> MeasuredLosses | None:
    """What was measured by this method and calibration on the weights that the model has now; None before."""
    return _LOSSES.get(_kept_by(config)) or shipped_losses().get(losses_key(config))


def _kept_by(config: PruneConfig) -> tuple[str, str | None]:
    return losses_key(config), None if config.model in BUNDLED else known_fingerprint(config.model)


def losses_work(config: PruneConfig, texts: dict[str, Text], candidates: Sequence[Choice]) -> Work:
    """The work of measuring what each layer loses; its values are Progress, and MeasuredLosses in the end."""
    check_config(config)
    model_source(config.model)
    config = config.changed(layers=())
    names = tuple(map(str, candidates))

    def keep(last: MeasuredLosses) -> None:
        _LOSSES.put(_kept_by(config), last)

    return Work(("losses", losses_key(config), names), measured_losses, (config, candidates, texts), config.model, keep)


def rates_of(model: str) -> Rates | None:
    """How long this machine takes for the layers of a model; None before it was timed."""
    return _RATES.get(model)


def rates_work(model: str, layers: list[LayerSize], candidates: Sequence[Choice]) -> Work:
    """The work of timing a model's shapes; its values are Progress, and Rates in the end. Nothing runs beside it."""

    def keep(last: Rates) -> None:
        _RATES.put(model, last)

    kinds = sorted({(layer.shape, layer.itemsize) for layer in layers})
    key = ("rates", model, tuple(kinds), tuple(map(str, candidates)))
    args = ([shape for shape, _ in kinds], kinds[0][1], list(candidates))
    return Work(key, rate_steps, args, model, keep, alone=True, expected=RATES_SECONDS)


def rate_steps(
    shapes: Sequence[tuple[int, int]], itemsize: int, candidates: Sequence[Choice]
) -> Iterator[Progress | Rates]:
    """Time one token's product by layers of these (out, in) shapes; weights of 2 bytes are timed as bf16."""
    kind = torch.float32 if itemsize == torch.float32.itemsize else torch.bfloat16
    rates = yield from decode_rates(shapes, [p for p in candidates if p is not None], kind, best_device())
    yield rates
