"""What the Hugging Face Hub says of a model before anything is downloaded."""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from eggs_core.errors import EggsError
from eggs_core.limits import OWN, hosted, limits

MODEL_GB = "EGGS_MODEL_GB"  # another limit of a Hub model's files, in units of 10⁹ bytes

FETCHED = (".safetensors", ".json", ".txt", ".model", ".jinja")  # what loading a model may download

SECONDS = 10  # to wait for the Hub's answer

_INFO = HfApi(token=False).model_info  # public ones only: visitors must not reach what the owner's token opens


def check_model(name: str, info: Callable[..., Any] = _INFO) -> None:
    """Raise EggsError on a public server for a Hub model that is too large, by its metadata, before any download.

    `info(name, files_metadata=True, timeout=seconds)` gives what huggingface_hub's model_info does.
    """
    most = int(float(os.environ.get(MODEL_GB, 0)) * 1e9) or limits().model_bytes
    if most is None or not hosted():
        return
    size = hub_bytes(name, info)
    if size > most:
        raise EggsError(
            f"The files of {name} are {size / 1e9:.1f} GB, and this public server takes models of at most "
            f"{most / 1e9:.3g} GB; choose a smaller one, {OWN}."
        )


@lru_cache(maxsize=256)
def hub_bytes(name: str, info: Callable[..., Any] = _INFO) -> int:
    """Bytes of what loading a Hub model downloads; of its files on disk where the Hub cannot be asked.

    Raises EggsError for a model that neither the Hub nor the disk has.
    """
    try:
        found = info(name, files_metadata=True, timeout=SECONDS)
        return sum(f.size or 0 for f in found.siblings or [] if "/" not in f.rfilename and _fetched(f.rfilename))
    except GatedRepoError as error:
        raise EggsError(f"The model {name} is gated; choose one that is open to all.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise EggsError(f"The Hub has no public model {name!r}; check the spelling (owner/model).") from error
    except Exception as error:  # no network: the kind depends on the transport
        return _cached_bytes(name, error)


def _fetched(file: str) -> bool:
    return file.endswith(FETCHED)


def _cached_bytes(name: str, error: Exception) -> int:
    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        raise EggsError(
            f"The Hugging Face Hub cannot be reached, so the size of {name!r} is unknown; choose a bundled model."
        ) from error
    return sum(file.stat().st_size for file in Path(config).parent.iterdir() if _fetched(file.name))
