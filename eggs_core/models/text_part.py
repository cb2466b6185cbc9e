"""The language model inside a checkpoint that also sees or hears: its configuration, and its tensors among all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.heavy import transformers
from eggs_core.models.folder import shown
from eggs_core.models.quantised import KEY

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedModel

    from eggs_core.models.stored_tensors import Stored

HEAD, TABLE = "lm_head.weight", "embed_tokens.weight"
# Text parts without a causal class of their own, and the type that computes the same of text alone: their rotary
# embedding has sections for time, height and width, which are all the token's place where there is only text.
TWINS = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}
SECTIONS = ("mrope_section", "mrope_interleaved")


def text_config(config: PreTrainedConfig) -> PreTrainedConfig | None:
    """The configuration of the causal LM inside another model's; None if transformers knows no such class for it."""
    inner = config.get_text_config(decoder=True)
    encodes = getattr(inner, "is_encoder_decoder", False) or getattr(inner, "add_cross_attention", False)
    if inner is config or encodes:
        return None
    if twin := TWINS.get(inner.model_type):
        inner = _as_twin(inner, twin)
    if type(inner) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    if getattr(config, "tie_word_embeddings", False):  # where files hold a head of its own, they decide
        inner.tie_word_embeddings = True
    if said := getattr(config, KEY, None):
        setattr(inner, KEY, said)
    if getattr(inner, "dtype", None) is None:
        inner.dtype = config.dtype
    return inner


def _as_twin(inner: PreTrainedConfig, twin: str) -> PreTrainedConfig:
    values = inner.to_dict()
    values.pop("model_type", None)
    rope = dict(values.get("rope_parameters") or {})
    kept = {name: value for name, value in rope.items() if name not in SECTIONS}
    kept["rope_type"] = "default" if kept.get("rope_type") in (None, "mrope") else kept["rope_type"]
    return transformers.CONFIG_MAPPING[twin].from_dict({**values, "rope_parameters": kept})


def left_out(config: PreTrainedConfig) -> tuple[str, ...]:
    """What a model has beside its text part, by the names of its configuration's parts: vision, audio."""
    inner = config.get_text_config(decoder=True)
    names = [name for name in config.sub_configs if getattr(config, name, None) not in (None, inner)]
    return tuple(sorted(name.removesuffix("_config") for name in names)) or ("other inputs",)


def text_tensors(name: str, model: PreTrainedModel, found: Mapping[str, Stored]) -> dict[str, Stored]:
    """Of all tensors of a checkpoint those of its text part, by the names that this has in a file of its own.

    `model` is the text part on the meta device. Raises EggsError unless exactly one embedding table fits it.
    """
    table = model.get_input_embeddings().weight
    base = next(key for key, tensor in model.named_parameters() if tensor is table).removesuffix(f".{TABLE}")
    places = [key for key, place in found.items() if f".{key}".endswith(f".{TABLE}") and place.shape == table.shape]
    prefixes = {f".{key.removesuffix(TABLE)}".removesuffix(f".{base}.") for key in places}
    prefixes = {prefix.lstrip(".") + "." * (not prefix.endswith(".") and prefix != "") for prefix in prefixes}
    if len(prefixes) != 1:
        raise EggsError(
            f"The text part of {name} was not found among its weights: {len(places)} tables of embeddings fit it; "
            f"choose a model of text alone."
        )
    prefix = prefixes.pop()
    inside = {key.removeprefix(prefix): place for key, place in found.items() if key.startswith(prefix)}
    based = any(key.startswith(f"{base}.") for key in inside)
    named = {key if based or key == HEAD else f"{base}.{key}": place for key, place in inside.items()}
    if HEAD in found:
        named.setdefault(HEAD, found[HEAD])
    return named


def no_text_part(name: str, config: PreTrainedConfig) -> EggsError:
    """The sentence for a model that sees or hears whose text part cannot be had by itself."""
    return EggsError(
        f"{name} is a {shown(config.model_type)!r} model, and transformers has no causal language model for its text "
        f"part alone; choose a causal language model."
    )
