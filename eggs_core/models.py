"""Loading causal language models: bundled, a local folder, a GGUF file, or the Hugging Face Hub."""

import errno
import hashlib
import json
import os
import re
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from eggs_core.adapters import find_blocks
from eggs_core.calibration import ASSETS
from eggs_core.device import best_device, check_room
from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.hosting import check_model, check_name, hosted

BUNDLED = {
    "tiny-llama": "Llama architecture, 3.4 M parameters, trained on State of the Union speeches",
    "tiny-opt": "OPT architecture, 3.5 M parameters, trained on the same speeches",
}
SAMPLE = 4096  # values of each tensor that a fingerprint reads
_ALTERNATIVE = f"the bundled models {' and '.join(BUNDLED)} need no download"


@dataclass
class LoadedModel:
    """A causal LM in evaluation mode with its tokenizer; `name` is what the user asked for."""

    name: str
    model: PreTrainedModel
    tokenizer: object

    @property
    def parameters(self) -> int:
        """Number of parameters, tied ones counted once."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all weights, tied ones counted once."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        return sum({t.data_ptr(): t.nbytes for t in tensors}.values())

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that tell weights apart: SHA-256 over names, shapes and up to SAMPLE values of each."""
        digest = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            flat = tensor.detach().flatten()
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(flat[:: max(1, len(flat) // SAMPLE)].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def check_window(self, length: int) -> None:
        """Raise EggsError if the model cannot read windows of `length` tokens."""
        check_window(self.name, self.model.config, length)


def check_window(name: str, config: PreTrainedConfig, length: int) -> None:
    """Raise EggsError if a model of this configuration cannot read windows of `length` tokens."""
    limit = getattr(config, "max_position_embeddings", None)
    if isinstance(limit, int) and length > limit:
        raise EggsError(f"{name} reads at most {limit} tokens at once; choose windows of at most {limit}.")


def model_source(name: str) -> tuple[str, dict[str, str]]:
    """The path or Hub id behind a name, and the extra arguments that from_pretrained needs for it."""
    if name in BUNDLED:
        return str(ASSETS / "models" / name), {}
    check_name(name)
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise EggsError(f"There is no GGUF file {name!r}; check the path.")
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise EggsError(f"{path.name} is not a GGUF file; it may be damaged or only partly downloaded.")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        _check_folder(path)
        return str(path), {}
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise EggsError(f"There is no folder {name!r}; check the path, or use a Hub id such as owner/model.")
    return name, {}


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise EggsError(f"The folder {path.name} holds no config.json, so it is no Hugging Face model folder.")
    if not any(path.glob("*.safetensors")):
        if any(path.glob("*.bin")) or any(path.glob("*.pt")) or any(path.glob("*.pth")):
            raise EggsError(
                f"The folder {path.name} holds only pickled weights, which can run code when opened; "
                f"convert them to safetensors first."
            )
        raise EggsError(f"The folder {path.name} holds no .safetensors weights.")
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EggsError(f"The folder {path.name} has a damaged model.safetensors.index.json.") from error
        if missing := sorted(s for s in shards if not (path / s).is_file()):
            raise EggsError(f"The folder {path.name} lacks the weight file {missing[0]}; copy the whole model.")


def _bytes_loaded(folder: Path, config, dtype: torch.dtype | str) -> float:
    """Bytes that a folder's weights take in memory when they are loaded as `dtype`."""
    saved = getattr(config, "dtype", None) or torch.float32
    wanted = saved if dtype == "auto" else dtype
    return sum(f.stat().st_size for f in folder.glob("*.safetensors")) * wanted.itemsize / saved.itemsize


def explain(name: str, error: Exception) -> EggsError:
    """The one sentence that a person needs for an error raised while loading."""
    chain, text = error, ""
    causes = []
    while chain is not None and len(causes) < 10:
        causes.append(chain)
        text += f" {chain}"
        chain = chain.__cause__ or chain.__context__
    has = lambda *kinds: any(isinstance(c, kinds) for c in causes)  # noqa: E731
    if has(GatedRepoError):
        return EggsError(f"The model {name} is gated: accept its licence on the Hub and set HF_TOKEN; {_ALTERNATIVE}.")
    if has(RepositoryNotFoundError):
        return EggsError(f"The Hub has no public model {name!r}; check the spelling (owner/model); {_ALTERNATIVE}.")
    if has(HFValidationError):
        return EggsError(f"{name!r} is neither a model folder nor a valid Hub id such as owner/model; {_ALTERNATIVE}.")
    if has(MemoryError, torch.OutOfMemoryError) or "can't allocate memory" in text:
        return OutOfMemory(f"The model {name} does not fit into memory; choose a smaller one.")
    if any(isinstance(c, OSError) and c.errno == errno.ENOSPC for c in causes):
        return EggsError(f"The disk is full, so {name} could not be downloaded; free some space and try again.")
    if has(LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError) or "couldn't connect" in text.lower():
        return EggsError(f"The Hugging Face Hub cannot be reached, so {name!r} cannot be downloaded; {_ALTERNATIVE}.")
    if has(SafetensorError):
        return EggsError(f"The safetensors weights of {name} are damaged or only partly downloaded; fetch them again.")
    if "safetensors" in text or "pytorch_model.bin" in text:
        return EggsError(f"The model {name} has no readable safetensors weights; only safetensors and GGUF are opened.")
    if has(HfHubHTTPError):
        return EggsError(f"The Hub refused to hand out {name}; try again later; {_ALTERNATIVE}.")
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


def read_config(name: str, source: str, **options) -> PreTrainedConfig:
    """The configuration of a causal LM; raises EggsError for another kind of model."""
    config = AutoConfig.from_pretrained(source, **options)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or getattr(config, "is_encoder_decoder", False):
        raise EggsError(
            f"{name} is a {config.model_type!r} model, which does not predict the next token; "
            f"choose a causal language model."
        )
    saved_as = (config.architectures or ["CausalLM"])[0]
    if "CausalLM" not in saved_as and "LMHead" not in saved_as:
        raise EggsError(f"{name} was saved as {saved_as}, which is no causal language model; choose another.")
    return config


def _open(name: str) -> tuple[str, dict[str, object], PreTrainedConfig | None]:
    """The source behind a name, the arguments for from_pretrained, and the configuration of what is no GGUF file.

    Refuses what is no causal language model, and on a public server what is too large.
    """
    if not name or "\0" in name or len(name) > 500:
        raise EggsError(f"Choose a model: {', '.join(BUNDLED)}, a Hub id, a local folder or a GGUF file.")
    source, extra = model_source(name)
    local = os.path.isdir(source)
    options = {"local_files_only": local, "trust_remote_code": False, "token": False if hosted() else None, **extra}
    if not local:
        check_model(name)
    return source, options, None if extra else read_config(name, source, **options)


@contextmanager
def explained(name: str):
    """Turn whatever opening a model raises into the sentence that a person needs; the cause is kept."""
    try:
        yield
    except EggsError:
        raise
    except Exception as error:  # transformers raises many kinds
        raise explain(name, error) from error


def load(
    name: str,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    device_map: str | dict[str, str | int] | None = None,
) -> LoadedModel:
    """Load a causal LM and its tokenizer onto a device, in fp32 on the CPU and in its own dtype elsewhere.

    A `device_map`, "auto" or one of accelerate's, spreads the model over several devices and, where they are full, host
    memory and disk: such a model can be evaluated, not pruned.
    Never runs a model's own code and never unpickles; on a public server, opens no path, asks the Hub for a model's
    size before its files, and uses no token. Raises EggsError with what to do for everything that can fail.
    """
    name = name.strip()
    device = device or best_device()
    if dtype is None:
        dtype = torch.float32 if device.type == "cpu" else "auto"
    with explained(name):
        source, options, config = _open(name)
        if config is not None and options["local_files_only"] and device_map is None:
            check_room(_bytes_loaded(Path(source), config, dtype), device, f"The model {Path(name).name}")
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, device_map=device_map, **options
        )
    find_blocks(model)  # an unsupported architecture is refused here, before any work
    model = model.eval()
    return LoadedModel(name, model if device_map else model.to(device), tokenizer)


def outline(name: str) -> LoadedModel:
    """A model's shapes without its weights and tokenizer, on the meta device; raises EggsError as `load` does."""
    name = name.strip()
    with explained(name):
        source, options, config = _open(name)
        config = config or AutoConfig.from_pretrained(source, **options)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    find_blocks(model)
    return LoadedModel(name, model.eval(), None)
