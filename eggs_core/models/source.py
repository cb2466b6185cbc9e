"""Where a model is: bundled, in a folder, a GGUF file or on the Hub; and what its files say before weights are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from huggingface_hub import snapshot_download

from eggs_core.assets import ASSETS
from eggs_core.converted import converted_folder
from eggs_core.errors import EggsError
from eggs_core.heavy import transformers
from eggs_core.hub import check_model
from eggs_core.limits import check_name, hosted
from eggs_core.models.fingerprints import KNOWN, Known, WeightFiles
from eggs_core.models.folder import (
    CONFIG,
    INDEX,
    SINGLE,
    check_counts,
    check_files,
    read_index,
    read_object,
    shown,
    weight_files,
)
from eggs_core.models.gguf import converted, files_of, read_header
from eggs_core.models.quantised import check_method, method_of
from eggs_core.models.stored_tensors import Stored, headers, read_folder, settle_ties
from eggs_core.models.text_part import left_out, no_text_part, text_config
from eggs_core.network import reachable

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

BUNDLED = {
    "tiny-llama": "Llama architecture, 3.4 M parameters, trained on State of the Union speeches",
    "tiny-opt": "OPT architecture, 3.5 M parameters, trained on the same speeches",
}

WITHOUT_WEIGHTS = {  # models of shipped runs whose weights do not ship -> the model to prune instead
    "HuggingFaceTB/SmolLM2-135M-Instruct (Q4_1)": "HuggingFaceTB/SmolLM2-135M-Instruct",
}


def without_weights(name: str) -> str:
    """Why what needs a shipped run's weights cannot be done, and what can; empty for any other model."""
    if name not in WITHOUT_WEIGHTS:
        return ""
    return f"This needs the weights of {name}, which do not ship with the app; prune {WITHOUT_WEIGHTS[name]} instead."


def model_source(name: str) -> tuple[str, dict[str, str]]:
    """The path or Hub id behind a name, and the extra arguments that from_pretrained needs for it."""
    if name in BUNDLED:
        return str(ASSETS / "models" / name), {}
    if missing := without_weights(name):
        raise EggsError(missing)
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


class Read(NamedTuple):
    """The configuration of a causal LM, and what the model that it is a part of has beside it, such as vision."""

    config: PreTrainedConfig
    left_out: tuple[str, ...] = ()


def read_config(name: str, source: str, **options: Any) -> Read:
    """The configuration of a causal LM, or of the text part of a model that also sees or hears.

    Raises EggsError for another kind of model.
    """
    config = transformers.AutoConfig.from_pretrained(source, **options)
    saved_as = (config.architectures or ["CausalLM"])[0]
    causal = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if config.model_type in causal and ("CausalLM" in saved_as or "LMHead" in saved_as):
        return Read(_causal_config(name, config))
    if (text := text_config(config)) is not None:
        return Read(_causal_config(name, text), left_out(config))
    if config.model_type not in causal and config.get_text_config(decoder=True) is not config:
        raise no_text_part(name, config)
    return Read(_causal_config(name, config))


def _causal_config(name: str, config: PreTrainedConfig) -> PreTrainedConfig:
    """The configuration itself; raises EggsError for one of another kind of model."""
    causal = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if config.model_type not in causal or getattr(config, "is_encoder_decoder", False):
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
    the files that `source` was converted from. `left_out` is what the model has beside its text part.
    """

    source: str
    options: dict[str, Any]
    config: PreTrainedConfig
    folder: Path | None
    stored: dict[str, Stored] | None
    gguf: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()

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
        "local_files_only": local or bool(extra) or not reachable(),
        "trust_remote_code": False,
        "token": False if hosted() else None,
    }
    if extra:
        return _open_gguf(name, Path(source, *extra.values()), options, weights)
    if local:
        stored = read_folder(name, Path(source))
        config, others = read_config(name, source, **options)
        if not others:
            settle_ties(config, Path(source), stored)
        return OpenedModel(source, options, config, Path(source), stored, left_out=others)
    check_model(name)
    saved = read_object(name, Path(str(_from_hub(source, CONFIG, options))))
    check_counts(name, saved)
    if method := method_of(saved):
        check_method(name, method)
    config, others = read_config(name, source, **options)
    folder = _fetched(name, source, options) if weights else None
    held = read_folder(name, folder) if folder else None
    if folder and held and not others:
        settle_ties(config, folder, held)
    return OpenedModel(source, options, config, folder, held, left_out=others)


def folder_here(source: str) -> Path | None:
    """The folder of a model that is on this machine, in a place of its own or in the Hub's cache."""
    if os.path.isdir(source):
        return Path(source)
    try:
        found = Path(snapshot_download(source, local_files_only=True))
    except Exception:  # not here, or no name of a Hub model: asking for it says which
        return None
    return found if (found / CONFIG).is_file() and any(found.glob("*.safetensors")) else None


def known_fingerprint(name: str, known: Known = KNOWN) -> str | None:
    """The fingerprint of a model's weight files as they are on this disk, if it was taken before; reads no weights."""
    try:
        source, extra = model_source(name)
        if extra:
            return known.get(WeightFiles.look(files_of(name, Path(source, *extra.values()))))
        if (folder := folder_here(source)) is None:
            return None
        return known.get(WeightFiles.look(folder / file for file in weight_files(name, folder)[0]))
    except EggsError:
        return None


def _open_gguf(name: str, file: Path, options: dict[str, Any], weights: bool) -> OpenedModel:
    """A GGUF model, by the folder that it was converted into; without `weights` also one that was not yet."""
    files = files_of(name, file)
    if not (folder := converted_folder(file)).is_dir():
        config = transformers.AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name, **options)
        tensors = sum(len(read_header(part).tensors) for part in files)
        check_counts(name, {"num_hidden_layers": config.num_hidden_layers}, tensors)
        if not weights:
            return OpenedModel(str(file.parent), options, config, None, None, tuple(files))
        folder = converted(name, file)
    config, _ = read_config(name, str(folder), **options)
    return OpenedModel(str(folder), options, config, folder, headers(name, folder), tuple(files))


def _from_hub(source: str, file: str, options: dict[str, Any], needed: bool = True) -> str | None:
    """The path of a Hub model's file, fetched into the Hub's cache; None for one that is not there and not needed."""
    asked = {k: options[k] for k in ("local_files_only", "token")}
    return transformers.utils.cached_file(source, file, _raise_exceptions_for_missing_entries=needed, **asked)


def _fetched(name: str, source: str, options: dict[str, Any]) -> Path | None:
    """The folder in the Hub's cache with all of a model's safetensors files; None if it keeps none."""
    found = _from_hub(source, SINGLE, options, needed=False)
    if found is None and (found := _from_hub(source, INDEX, options, needed=False)) is not None:
        for file in sorted(set(read_index(name, Path(found).parent).values())):
            _from_hub(source, file, options)
    return Path(found).parent if found else None
