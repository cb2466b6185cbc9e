"""What the Hugging Face Hub says of a model before anything is downloaded, and its errors as sentences."""

import errno
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from httpx import TransportError
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from eggs_core.errors import EggsError
from eggs_core.limits import OWN, hosted, limits
from eggs_core.network import reachable
from eggs_core.units import size

MODEL_GB = "EGGS_MODEL_GB"  # another limit of a Hub model's files, in units of 10⁹ bytes

FETCHED = (".safetensors", ".json", ".txt", ".model", ".jinja")  # what loading a model may download

HUB_SECONDS = 10  # to wait for the Hub's answer

MOST_CAUSES = 10  # that an error is followed to


def asking(question: Callable[..., Any]) -> Callable[..., Any]:
    """The same question to the Hub, which is not asked, but ends in OfflineModeIsEnabled, where it is out of reach."""

    def ask(*args: Any, **options: Any) -> Any:
        if not reachable():
            raise OfflineModeIsEnabled("The Hub is out of reach.")
        return question(*args, **options)

    return ask


_INFO = asking(HfApi(token=False).model_info)  # public ones only: visitors must not reach what the owner's token opens


def check_model(name: str, info: Callable[..., Any] = _INFO) -> None:
    """Raise EggsError on a public server for a Hub model that is too large, by its metadata, before any download.

    `info(name, files_metadata=True, timeout=seconds)` gives what huggingface_hub's model_info does.
    """
    most = int(float(os.environ.get(MODEL_GB, 0)) * 1e9) or limits().model_bytes
    if most is None or not hosted():
        return
    found = hub_bytes(name, info)
    if found > most:
        raise EggsError(
            f"The files of {name} are {size(found)}, and this public server takes models of at most {size(most)}; "
            f"choose a smaller one, {OWN}."
        )


@lru_cache(maxsize=256)
def hub_bytes(name: str, info: Callable[..., Any] = _INFO) -> int:
    """Bytes of what loading a Hub model downloads; of its files on disk where the Hub cannot be asked.

    Raises EggsError for a model that neither the Hub nor the disk has.
    """
    try:
        found = info(name, files_metadata=True, timeout=HUB_SECONDS)
        return sum(f.size or 0 for f in found.siblings or [] if "/" not in f.rfilename and _fetched(f.rfilename))
    except Exception as error:  # without a network the kind depends on the transport
        if found := refusal(error, "model", name):
            raise found from error
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


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, the latest first."""
    found: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def refusal(error: BaseException, kind: str, name: str, instead: str = "") -> EggsError | None:
    """The sentence for the Hub's answer that it does not hand out a "model" or "dataset"; None for another error.

    `instead` says what could be done without it.
    """
    chain, more = [*causes(error)], f"; {instead}" if instead else ""
    if _any(chain, GatedRepoError):
        if hosted():  # where no visitor's token is used
            return EggsError(f"The {kind} {name} is gated; choose one that is open to all.")
        return EggsError(f"The {kind} {name} is gated: accept its licence on the Hub and set HF_TOKEN{more}.")
    if _any(chain, RepositoryNotFoundError):
        return EggsError(f"The Hub has no public {kind} {name!r}; check the spelling (owner/{kind}){more}.")
    if _any(chain, HFValidationError):
        return EggsError(f"{name!r} is neither a {kind} folder nor a valid Hub id such as owner/{kind}{more}.")
    return None


def unreachable(name: str, instead: str) -> EggsError:
    """The sentence for a model or data set that cannot be had, as the Hub does not answer."""
    return EggsError(f"The Hugging Face Hub cannot be reached, so {name!r} cannot be downloaded; {instead}.")


def hub_error(error: BaseException, kind: str, name: str, instead: str) -> EggsError | None:
    """The sentence for whatever the Hub, the network or a full disk raised; None for an error of another origin.

    kind: "model" or "dataset"; `instead` says what could be done without it. A single file that the Hub lacks is of
    another origin, as only the reader knows what it was needed for.
    """
    if found := refusal(error, kind, name, instead):
        return found
    chain = [*causes(error)]
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in chain):
        return EggsError(f"The disk is full, so {name} could not be downloaded; free some space and try again.")
    silent = (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TransportError)
    if _any(chain, *silent) or any("couldn't connect" in str(cause).lower() for cause in chain):
        return unreachable(name, instead)
    if _any(chain, HfHubHTTPError) and not _any(chain, EntryNotFoundError):
        return EggsError(f"The Hub refused to hand out {name}; try again later; {instead}.")
    return None


def _any(chain: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(cause, kinds) for cause in chain)
