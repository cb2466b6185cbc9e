"""The trade-off over β: prune and evaluate the same model at rising degree bounds, everything else unchanged."""

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from eggs_core.assets import ASSETS
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.evaluation.perplexity import join, protocol, score_windows
from eggs_core.files import write_json
from eggs_core.limits import check_config
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.progress import memory_errors
from eggs_core.pruning.loop import LayerReport, prune
from eggs_core.reading import read_json
from eggs_core.registry import CUSTOM, entry
from eggs_core.report_types import Protocol, Scores
from eggs_core.text.named import chosen_text
from eggs_core.text.sources import Text
from eggs_core.text.windows import calibration_windows, evaluation_windows, has_beginning
from eggs_core.validation import Count, Many, Number, Perplexity, Share, build, closed

BETAS = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
CURVES = ASSETS / "curves"
Bound = Annotated[float, Field(ge=1e-6, le=1.5e304, allow_inf_nan=False)]  # of a perplexity's interval
FromMinusOne = Annotated[Number, Field(ge=-1)]


@closed
@dataclass(frozen=True, slots=True)
class BetaPoint:
    """One pruned model at one β: perplexity, with its interval against β = 0, and what its graphs are like."""

    beta: Share
    perplexity: Perplexity
    low: Bound
    high: Bound
    mean_gap: FromMinusOne
    min_gap: FromMinusOne
    retained_score: FromMinusOne
    min_in_degree: Count
    orphans: Count
    window_nats: Many[Number]


@dataclass(frozen=True, slots=True)
class BetaProgress:
    """Where a curve stands: what it does now, and the share done in 0..1."""

    text: str
    share: float


@closed
@dataclass(frozen=True, slots=True)
class BetaCurve:
    """A finished or growing curve, with the configuration it varies and the protocol of its figures.

    `fingerprint` is that of the model's weights; curves that ship with the app have none.
    """

    config: dict[str, Any]
    evaluation: Protocol
    dense_perplexity: Perplexity
    points: Annotated[list[BetaPoint], Field(max_length=1000)]
    fingerprint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BetaCurve":
        """The inverse of to_dict; raises ValueError or EggsError for values of which something is missing or wrong."""
        curve = build(values, cls)
        return dataclasses.replace(curve, config=PruneConfig.from_dict(curve.config).to_dict())


def curve_config(config: PruneConfig) -> PruneConfig:
    """The configuration that a curve varies: the same choices, with the degree bound as selection.

    Raises EggsError for SparseGPT, which chooses its own mask: no bound can steer it.
    """
    if entry("score", config.score).leaves_choice:
        raise EggsError("SparseGPT chooses its mask while it sweeps, so β cannot steer it; choose another method.")
    if config.rotates:
        raise EggsError("A curve over β is computed without a rotation; choose the rotation none.")
    return config.changed(method=CUSTOM, selection="degree", diagonals=None, beta=0.0)


def beta_curve(
    config: PruneConfig,
    texts: dict[str, Text] | None = None,
    betas: tuple[float, ...] = BETAS,
    cache: Models = CACHE,
) -> Iterator[BetaProgress | BetaCurve]:
    """Prune and evaluate at each β in turn, yielding progress and, after each β, the curve so far.

    Close the generator to stop. Raises EggsError for what cannot run.
    """
    check_config(config)
    base = curve_config(config)
    yield BetaProgress(f"Loading {config.model}", 0.0)
    dense = cache.get(config.model)
    base = base.with_bos(has_beginning(dense.tokenizer))
    calibration_text = chosen_text(config.calibration, "calibration", texts)
    evaluation_text = chosen_text(config.evaluation, "heldout", texts)
    dense.check_window(max(config.calibration_length, config.evaluation_length))
    calibration = calibration_windows(
        dense.tokenizer, calibration_text, config.calibration_windows, config.calibration_length, config.seed, base.bos
    )
    evaluation = evaluation_windows(
        dense.tokenizer, evaluation_text, config.evaluation_windows, config.evaluation_length, base.bos
    )
    dense.check_tokens(calibration, evaluation)
    with memory_errors("The curve over β"):
        yield BetaProgress("Evaluating the dense model", 0.02)
        dense_scores = join(list(score_windows(dense.model, evaluation)))
        read = protocol(evaluation_text, evaluation, base.bos)
        found = BetaCurve(base.to_dict(), read, dense_scores.perplexity, [], dense.fingerprint)
        for number, beta in enumerate(betas):
            model, layers = copy.deepcopy(dense.model), []
            for layer in prune(model, calibration, base.changed(beta=beta)):
                layers.append(layer)
                share = (number + len(layers) / (len(layers) + 8)) / len(betas)
                yield BetaProgress(f"β = {beta:g}: layer {len(layers)}, {layer.name}", share)
            yield BetaProgress(f"β = {beta:g}: evaluating", (number + 0.95) / len(betas))
            scores = join(list(score_windows(model, evaluation))).to_dict()
            found.points.append(_point(beta, layers, scores, found.points))
            yield found


def _point(beta: float, layers: list[LayerReport], scores: Scores, earlier: list[BetaPoint]) -> BetaPoint:
    nats = scores["window_nats"]
    first = earlier[0].window_nats if earlier else nats
    interval, start = paired_ratio(first, nats), earlier[0].perplexity if earlier else scores["perplexity"]
    gaps = [layer.graph.spectral_gap for layer in layers]
    return BetaPoint(
        beta=beta,
        perplexity=scores["perplexity"],
        low=start * interval.low,
        high=start * interval.high,
        mean_gap=sum(gaps) / len(gaps),
        min_gap=min(gaps),
        retained_score=sum(layer.retained_score for layer in layers) / len(layers),
        min_in_degree=min(layer.graph.min_in_degree for layer in layers),
        orphans=sum(layer.graph.orphans for layer in layers),
        window_nats=nats,
    )


def save_curve(curve: BetaCurve, path: Path) -> None:
    """Write a curve as JSON; raises EggsError when it cannot be written."""
    write_json(path, curve.to_dict())


def load_curve(path: Path) -> BetaCurve:
    """Read a curve; raises EggsError if the file is missing or damaged."""
    try:
        return BetaCurve.from_dict(read_json(path))
    except (OSError, ValueError, EggsError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise EggsError(f"The curve {path.name} cannot be read ({reason}); compute it again.") from error
