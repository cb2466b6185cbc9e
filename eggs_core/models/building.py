"""Models are built one at a time: transformers changes its own and torch's functions while it does, for all threads.

Two threads that build at once can leave `tie_weights` a function that does nothing, so that every model opened from
then on has a head of random weights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from eggs_core.heavy import transformers

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

_BUILDING = threading.RLock()


def building() -> AbstractContextManager[bool]:
    """Held while a model is made: no other thread makes one meanwhile."""
    return _BUILDING


def from_files(source: str, **options: Any) -> tuple[PreTrainedModel, set[str]]:
    """The causal LM that transformers reads from safetensors or GGUF, and the weights that it had to invent."""
    from_pretrained: Callable[..., Any] = transformers.AutoModelForCausalLM.from_pretrained  # a pair, with its info
    with building():
        model, loading = from_pretrained(source, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    return model, {key for key, *_ in loading["mismatched_keys"]} | set(loading["missing_keys"])
