"""One layer between top-N (β = 0) and a biregular graph (β = 1): its scores, and the exact selection at each β."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from eggs_core.cache import Bounded
from eggs_core.errors import EggsError
from eggs_core.graph.spectrum import second_singular_value
from eggs_core.heavy import nn, no_grad, torch
from eggs_core.masks.bits import pack_bits, unpack_bits
from eggs_core.masks.degree_bound import degree_mask, min_degree_bound
from eggs_core.masks.selection import retained_score
from eggs_core.models.architectures import context_length, linear_layers
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.models.fingerprints import check_same_weights
from eggs_core.models.hooks import InputHook, hooked
from eggs_core.models.loading import LoadedModel
from eggs_core.pattern import NMPattern
from eggs_core.pruning.scores import score, without_sweep
from eggs_core.registry import entry
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import calibration_windows

BETAS = tuple(k / 10 for k in range(11))
NORM_WINDOWS, NORM_LENGTH = 16, 128
AT_ONCE = 1_000_000  # weights up to which all steps are computed together
MOST_BYTES = 256 << 20  # of weights and scores that are kept; of norms, and of steps, a quarter


@dataclass(frozen=True, slots=True)
class LayerScores:
    """A layer's dense weight and scores, fp32 (out, in), and what the scores were made of, in words."""

    weight: torch.Tensor
    scores: torch.Tensor
    source: str


@dataclass(frozen=True, slots=True)
class BetaStep:
    """The exact degree-bounded mask at one β, bit-packed, and what it costs and gives."""

    beta: float
    bound: int
    packed: torch.Tensor
    shape: tuple[int, int]
    sigma2: float
    orphans: int
    min_in_degree: int
    retained: float  # share of top-N's kept score

    @property
    def mask(self) -> torch.Tensor:
        """The mask, bool (out, in)."""
        return unpack_bits(self.packed, self.shape)


@no_grad
def input_norms(dense: LoadedModel) -> dict[str, torch.Tensor]:
    """L2 norms of every linear layer's input channels over the bundled calibration text, fp32 (in,) by layer name."""
    length = min(NORM_LENGTH, context_length(dense.model.config) or NORM_LENGTH)
    windows = calibration_windows(dense.tokenizer, bundled_text("calibration"), NORM_WINDOWS, length, 0)
    dense.check_tokens(windows)
    squares: dict[str, torch.Tensor] = {}

    def hook_for(name: str) -> InputHook:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            here = args[0].reshape(-1, args[0].shape[-1]).float().square().sum(0)
            squares[name] = squares[name] + here if name in squares else here

        return hook

    with hooked(x.module.register_forward_pre_hook(hook_for(x.name)) for x in linear_layers(dense.model)):
        for window in windows.split(4):
            dense.model(input_ids=window.to(dense.model.device), use_cache=False)
    return {name: values.sqrt().cpu() for name, values in squares.items()}


def layer_scores(model: str, layer: str, kind: str, recorded: str | None = None, models: Models = CACHE) -> LayerScores:
    """A dense layer's weight and its scores of one kind; "obs" is read as wanda, its nearest score without a sweep.

    `recorded` is the fingerprint in the report of the run that is looked at. Raises EggsError when the model cannot be
    opened, has no such layer or has other weights by now.
    """
    return _scores(_dense(model, recorded, models), layer, without_sweep(kind))


def layer_window(model: str, layer: str, kind: str, recorded: str | None, rows: slice, columns: slice) -> LayerScores:
    """A window of what `layer_scores` gives, with tensors of their own."""
    found = layer_scores(model, layer, kind, recorded)
    return LayerScores(found.weight[rows, columns].clone(), found.scores[rows, columns].clone(), found.source)


def source_of_scores(model: str, layer: str, kind: str, recorded: str | None = None) -> str:
    """What `layer_scores` makes the scores of, in words."""
    return layer_scores(model, layer, kind, recorded).source


def weighted_sigma2(model: str, layer: str, mask: torch.Tensor, recorded: str | None = None) -> float:
    """σ₂ of the magnitudes of the weights that a mask, bool (out, in), keeps; raises as `layer_scores` does."""
    weight = layer_scores(model, layer, "magnitude", recorded).weight
    return second_singular_value(weight.abs() * mask).item()


def _dense(model: str, recorded: str | None, models: Models) -> LoadedModel:
    """A model, whose weights must be those that a run recorded the fingerprint of."""
    dense = models.get(model)
    check_same_weights({"model": model, "fingerprint": recorded}, dense)
    return dense


def _scores(dense: LoadedModel, layer: str, kind: str) -> LayerScores:
    key = (dense.name, dense.fingerprint, layer, kind)
    return _SCORES.get_or_make(key, lambda: _made_scores(dense, layer, kind))


def _made_scores(dense: LoadedModel, layer: str, kind: str) -> LayerScores:
    found = [one for one in linear_layers(dense.model) if one.name == layer]
    if not found:
        raise EggsError(f"The model {dense.name} has no layer {layer}; prune it again to look into it.")
    weight = found[0].weight().cpu()
    if not entry("score", kind).sees_inputs:
        return LayerScores(weight, score(kind, weight), "the dense weights' magnitudes")
    norms = _NORMS.get_or_make((dense.name, dense.fingerprint), lambda: input_norms(dense))
    if layer not in norms:
        return LayerScores(weight, score("magnitude", weight), "the dense weights' magnitudes (calibration skipped it)")
    tokens = NORM_WINDOWS * NORM_LENGTH
    source = f"the dense weights and activation norms over {tokens:,} calibration tokens ({kind} score)"
    return LayerScores(weight, score(kind, weight, norms[layer]), source)


def _steps(scores: torch.Tensor, layer: str, pattern: NMPattern, betas: tuple[float, ...]) -> tuple[BetaStep, ...]:
    """The steps at the given β in rising order; each starts from the prices of the one before."""
    rows, columns = scores.shape
    pattern.check(layer, (rows, columns))
    best, steps, prices = None, [], None
    for beta in betas:
        bound = min_degree_bound(rows, pattern, beta)
        mask, prices = degree_mask(scores, pattern, bound, prices)
        if best is None:
            best = retained_score(scores, mask if beta == 0 else degree_mask(scores, pattern, 0)[0])
        degrees = mask.sum(0)
        steps.append(
            BetaStep(
                beta,
                bound,
                pack_bits(mask),
                (rows, columns),
                second_singular_value(mask).item(),
                int((degrees == 0).sum()),
                int(degrees.min()),
                retained_score(scores, mask) / max(best, 1e-30),
            )
        )
    return tuple(steps)


def beta_step(
    model: str,
    layer: str,
    kind: str,
    pattern: NMPattern,
    beta: float,
    recorded: str | None = None,
    models: Models = CACHE,
) -> BetaStep:
    """The exact selection of a layer at a β from 0 to 1; small layers have those at BETAS computed at the first call.

    Raises EggsError as `layer_scores` does.
    """
    dense, kind = _dense(model, recorded, models), without_sweep(kind)
    scores = _scores(dense, layer, kind).scores
    betas = BETAS if beta in BETAS and scores.numel() <= AT_ONCE else (beta,)
    key = (dense.name, dense.fingerprint, layer, kind, pattern, betas)
    steps = _STEPS.get_or_make(key, lambda: _steps(scores, layer, pattern, betas))
    return steps[betas.index(beta)]


def _bytes_of_scores(kept: Collection[LayerScores]) -> int:
    return sum(one.weight.nbytes + one.scores.nbytes for one in kept)


def _bytes_of_norms(kept: Collection[dict[str, torch.Tensor]]) -> int:
    return sum(norms.nbytes for one in kept for norms in one.values())


def _bytes_of_steps(kept: Collection[tuple[BetaStep, ...]]) -> int:
    return sum(step.packed.nbytes for steps in kept for step in steps)


# By name and fingerprint of the model, and what else they depend on. The newest stays, however large its layer is.
_NORMS: Bounded[tuple, dict[str, torch.Tensor]] = Bounded(MOST_BYTES // 4, _bytes_of_norms, keep_newest=True)
_SCORES: Bounded[tuple, LayerScores] = Bounded(MOST_BYTES, _bytes_of_scores, keep_newest=True)
_STEPS: Bounded[tuple, tuple[BetaStep, ...]] = Bounded(MOST_BYTES // 4, _bytes_of_steps, keep_newest=True)
