"""Is a model, block by block, the model that it is as a whole? Asked of every model before it is pruned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.hooks import hooked
from eggs_core.pruning.activations import Activations
from eggs_core.pruning.block_calls import input_device

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

TOKENS = 64  # of each of two windows that are compared
TOLERANCE, ROUNDED = 1e-4, 2e-2  # relative error of hidden states, in fp32 and in any shorter dtype


@no_grad
def check_block_by_block(model: PreTrainedModel, blocks: nn.ModuleList, windows: torch.Tensor) -> None:
    """Raise EggsError unless hidden states after every block are those of the whole forward pass.

    windows: (windows, length) int64; the first two, as two batches, are compared up to 64 tokens.
    """
    tokens = windows[:2, :TOKENS]
    whole: dict[nn.Module, list[torch.Tensor]] = {}

    def keep(block: nn.Module, _args: tuple[torch.Tensor, ...], output: object) -> None:
        hidden = output[0] if isinstance(output, tuple | list) else output
        assert isinstance(hidden, torch.Tensor)
        whole.setdefault(block, []).append(hidden.clone())

    with hooked(block.register_forward_hook(keep) for block in blocks):
        for batch in tokens.split(1):
            model(input_ids=batch.to(input_device(model)), use_cache=False)
    kind = model.config.model_type
    activations = Activations(model, blocks, tokens, tokens_per_batch=1)
    for number, block in enumerate(blocks):
        try:
            activations.advance(number, block)
        except (TypeError, AttributeError) as error:  # its blocks are called in a way of their own
            raise EggsError(
                f"The architecture {kind!r} calls its blocks in a way that cannot be pruned here."
            ) from error
        if activations.runs(number):
            worst = max(map(_difference, activations.hidden, whole[block]))
            exact = activations.hidden[0].dtype.itemsize >= 4
            if not worst <= (TOLERANCE if exact else ROUNDED):
                raise EggsError(
                    f"The architecture {kind!r} computes something else block by block (block "
                    f"{number + 1} differs by {worst:.2g}): it cannot be pruned here."
                )


def _difference(hidden: torch.Tensor, whole: torch.Tensor) -> float:
    """Relative, ‖a − b‖ / ‖b‖; 0 for values that are not finite, which pruning itself explains."""
    if not torch.isfinite(whole).all():
        return 0.0
    return ((hidden - whole).float().norm() / whole.float().norm().clamp_min(1e-30)).item()
