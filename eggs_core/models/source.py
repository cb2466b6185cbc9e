"""Where a model is: bundled, in a folder, a GGUF file or on the Hub; and what its files say before weights are read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import cached_file

from eggs_core.assets import ASSETS
from eggs_core.converted import converted_folder
from eggs_core.errors import EggsError
from eggs_core.hub import check_model
from eggs_core.limits import check_name, hosted
from eggs_core.models.fingerprints import WeightFiles
from eggs_core.models.folder import CONFIG, INDEX, SINGLE, check_counts, check_files, read_index, read_object, shown
from eggs_core.models.gguf import converted, files_of, read_header
from eggs_core.models.stored_tensors import Stored, headers, read_folder, settle_ties

BUNDLED = {
    "tiny-llama": "Llama architecture, 3.4 M parameters, trained on State of the Union speeches",
    "tiny-opt": "OPT architecture, 3.5 M parameters, trained on the same speeches",
}


def model_source(name: str) -> tuple[str, dict[str, str]]:
    """The path or Hub id behind a name, and the extra arguments that from_pretrained needs for it."""
    if name in BUNDLED:
        return str(ASSETS / "models" / name), {}
    if not name or "\0" in name or len(name) > 500:
        raise EggsError(f"Choose a model: {', '.join(BUNDLED)}, a Hub id, a local folder or a GGUF file.")
    try:
        check_name(name)
        path = Path(name).expanduser()
        if path.suffix.lower() == ".gguf":
            return _gguf_source(name, path)
        if path.is_dir():
            check_files(path)
            return str(path), {}
    except (OSError, RuntimeError) as error:  # a name that no disk takes, a home that nobody has, a folder of others
        raise EggsError(f"There is no model {_short(name)} that can be read here; check the path.") from error
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise EggsError(f"There is no folder {_short(name)}; check the path, or use a Hub id such as owner/model.")
    return name, {}


def _gguf_source(name: str, path: Path) -> tuple[str, dict[str, str]]:
    files_of(name, path)
    return str(path.parent), {"gguf_file": path.name}


def _short(name: str) -> str:
    return repr(name if len(name) < 200 else f"{name[:200]}…")


def read_config(name: str, source: str, **options: Any) -> PreTrainedConfig:
    """The configuration of a causal LM; raises EggsError for another kind of model."""
    config = AutoConfig.from_pretrained(source, **options)
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or getattr(config, "is_encoder_decoder", False):
        raise EggsError(
            f"{name} is a {shown(config.model_type)!r} model, which does not predict the next token; "
            f"choose a causal language model."
        )
    saved_as = (config.architectures or ["CausalLM"])[0]
    if "CausalLM" not in saved_as and "LMHead" not in saved_as:
        raise EggsError(f"{name} was saved as {shown(saved_as)}, which is no causal language model; choose another.")
    if getattr(config, "rescale_every", 0):  # RWKV rewrites its weights for half precision as it is evaluated
        config.rescale_every = 0
    return config


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model before its weights are read: where it is, how it is asked for, and what its files hold.

    `stored` holds the tensors of safetensors files by their names there. It is None where there are none. `gguf` are
    the files that `source` was converted from.
    """

    source: str
    options: dict[str, Any]
    config: PreTrainedConfig
    folder: Path | None
    stored: dict[str, Stored] | None
    gguf: tuple[Path, ...] = ()

    @property
    def files(self) -> WeightFiles | None:
        """The weight files as they are now."""
        if self.gguf:
            return WeightFiles.look(self.gguf)
        if not self.folder or not self.stored:
            return None
        folder = self.folder
        return WeightFiles.look(folder / file for file in {s.file for s in self.stored.values()})


def open_model(name: str, weights: bool = True) -> OpenedModel:
    """Everything about a model that can be known before its weights are read.

    With `weights`, a Hub model's weight files are fetched. Raises EggsError for what is no causal language model or
    does not fit its own files, and on a public server for what is too large.
    """
    source, extra = model_source(name)
    local = os.path.isdir(source)
    options: dict[str, Any] = {
        "local_files_only": local,
        "trust_remote_code": False,
        "token": False if hosted() else None,
    }
    if extra:
        return _open_gguf(name, Path(source, *extra.values()), options, weights)
    if local:
        stored = read_folder(name, Path(source))
        config = settle_ties(read_config(name, source, **options), Path(source), stored)
        return OpenedModel(source, options, config, Path(source), stored)
    check_model(name)
    check_counts(name, read_object(name, Path(str(_from_hub(source, CONFIG, options)))))
    config = read_config(name, source, **options)
    folder = _fetched(name, source, options) if weights else None
    held = read_folder(name, folder) if folder else None
    if folder and held:
        settle_ties(config, folder, held)
    return OpenedModel(source, options, config, folder, held)


def _open_gguf(name: str, file: Path, options: dict[str, Any], weights: bool) -> OpenedModel:
    """A GGUF model, by the folder that it was converted into; without `weights` also one that was not yet."""
    files = files_of(name, file)
    if not (folder := converted_folder(file)).is_dir():
        config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name, **options)
        tensors = sum(len(read_header(part).tensors) for part in files)
        check_counts(name, {"num_hidden_layers": config.num_hidden_layers}, tensors)
        if not weights:
            return OpenedModel(str(file.parent), options, config, None, None, tuple(files))
        folder = converted(name, file)
    config = read_config(name, str(folder), **options)
    return OpenedModel(str(folder), options, config, folder, headers(name, folder), tuple(files))


def _from_hub(source: str, file: str, options: dict[str, Any], needed: bool = True) -> str | None:
    """The path of a Hub model's file, fetched into the Hub's cache; None for one that is not there and not needed."""
    asked = {k: options[k] for k in ("local_files_only", "token")}
    return cached_file(source, file, _raise_exceptions_for_missing_entries=needed, **asked)


def _fetched(name: str, source: str, options: dict[str, Any]) -> Path | None:
    """The folder in the Hub's cache with all of a model's safetensors files; None if it keeps none."""
    found = _from_hub(source, SINGLE, options, needed=False)
    if found is None and (found := _from_hub(source, INDEX, options, needed=False)) is not None:
        for file in sorted(set(read_index(name, Path(found).parent).values())):
            _from_hub(source, file, options)
    return Path(found).parent if found else None
