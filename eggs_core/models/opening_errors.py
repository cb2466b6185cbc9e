"""Whatever opening a model raises, as the one sentence that a person needs."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError

from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.heavy import torch
from eggs_core.hub import causes, hub_error
from eggs_core.models.source import BUNDLED

_ALTERNATIVE = f"the bundled models {' and '.join(BUNDLED)} need no download"


def explain(name: str, error: Exception) -> EggsError:
    """The one sentence that a person needs for an error raised while loading."""
    chain = [*causes(error)]
    text = " ".join(str(cause) for cause in chain)

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    if found := hub_error(error, "model", name, _ALTERNATIVE):
        return found
    if has(MemoryError, torch.OutOfMemoryError) or "can't allocate memory" in text:
        return OutOfMemory(f"The model {name} does not fit into memory; choose a smaller one.")
    if has(SafetensorError):
        return EggsError(f"The safetensors weights of {name} are damaged or only partly downloaded; fetch them again.")
    if "safetensors" in text or "pytorch_model.bin" in text:
        return EggsError(f"The model {name} has no readable safetensors weights; only safetensors and GGUF are opened.")
    if has(EntryNotFoundError):
        return EggsError(f"The Hub's model {name} lacks a file that it needs; choose another; {_ALTERNATIVE}.")
    if "trust_remote_code" in text or "custom code" in text:
        return EggsError(
            f"The model {name} needs code of its own to run, which is never executed here; choose another."
        )
    if name.lower().endswith(".gguf") and has(struct.error, IndexError, OverflowError, UnicodeDecodeError):
        return EggsError(f"The GGUF file {name} is damaged or only partly downloaded; fetch it again.")
    if "tokenizer" in text:
        return EggsError(f"The model {name} has no readable tokenizer; copy the whole model, with its tokenizer.json.")
    sentence = re.split(r"\.\s", str(error).strip() + " ")[0].splitlines()  # the rest is advice for programmers
    first = sentence[0][:200].rstrip(" :.") if sentence and sentence[0].strip() else type(error).__name__
    return EggsError(f"The model {name} could not be opened: {first}.")


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn whatever opening a model raises into the sentence that a person needs; the cause is kept."""
    try:
        yield
    except EggsError:
        raise
    except Exception as error:  # transformers raises many kinds
        raise explain(name, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what Rust's tokenizers raise for some damaged files
            raise
        raise EggsError(f"The tokenizer of {name} is damaged; copy the whole model.") from error
