"""Models are built one at a time: transformers changes its own and torch's functions while it does, for all threads.

Two threads that build at once can leave `tie_weights` a function that does nothing, so that every model opened from
then on has a head of random weights. Torch's default dtype, which transformers would change for all threads too, is
changed for the one that builds.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from eggs_core.heavy import torch, transformers

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

_BUILDING = threading.RLock()


@contextmanager
def building() -> Iterator[None]:
    """Held while a model is made: no other thread makes one meanwhile, nor meets another default dtype."""
    modeling: Any = transformers.modeling_utils
    with _BUILDING:
        before, modeling.local_torch_dtype = modeling.local_torch_dtype, default_dtype_here
        try:
            yield
        finally:
            modeling.local_torch_dtype = before


def default_dtype_here(dtype: torch.dtype, model: str | None = None) -> AbstractContextManager[Any]:
    """In this thread alone, new floating-point tensors are of `dtype` unless another is asked for.

    Raises ValueError, naming the class `model`, if that is no floating-point dtype.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"{model or 'A model'} cannot be made of {dtype}, which is no floating-point dtype.")
    mode: AbstractContextManager[Any] = _default_dtype_mode()(dtype)
    return mode


@cache
def _default_dtype_mode() -> type:
    from torch.overrides import TorchFunctionMode

    theirs: Any = sys.modules["torch"]  # where models look the default up

    class DefaultDtype(TorchFunctionMode):
        """Converts what came out in torch's default dtype because nothing said otherwise."""

        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            self._dtype, self._own = dtype, theirs.get_default_dtype

        def __enter__(self) -> Any:
            here, self._own = threading.get_ident(), theirs.get_default_dtype
            theirs.get_default_dtype = lambda: self._dtype if threading.get_ident() == here else self._own()
            return super().__enter__()

        def __exit__(self, *raised: Any) -> None:
            theirs.get_default_dtype = self._own
            super().__exit__(*raised)

        def __torch_function__(
            self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            options = kwargs or {}
            made = function(*args, **options)
            if not isinstance(made, torch.Tensor) or made.dtype != self._own():
                return made
            if function is torch.Tensor.float or any(map(_says_dtype, (*args, *options.values()))):
                return made
            return made.detach().to(self._dtype).requires_grad_(made.requires_grad)

    return DefaultDtype


def _says_dtype(given: Any) -> bool:
    """Does an argument decide which dtype a result has: a dtype, or values that have a floating-point one?"""
    if isinstance(given, list | tuple):
        return any(map(_says_dtype, given))
    if isinstance(given, torch.Tensor):
        return given.is_floating_point() or given.is_complex()
    return isinstance(given, torch.dtype) or getattr(getattr(given, "dtype", None), "kind", "") == "f"  # NumPy's


def from_files(source: str, **options: Any) -> tuple[PreTrainedModel, set[str]]:
    """The causal LM that transformers reads from safetensors or GGUF, and the weights that it had to invent."""
    from_pretrained: Callable[..., Any] = transformers.AutoModelForCausalLM.from_pretrained  # a pair, with its info
    with building():
        model, loading = from_pretrained(source, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    return model, {key for key, *_ in loading["mismatched_keys"]} | set(loading["missing_keys"])
