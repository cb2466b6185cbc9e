"""Packed models as a quantisation method of transformers: its own from_pretrained, pipeline and generate run them.

Importing this module registers the method. It is imported while transformers itself still is, so that what needs
its models comes inside functions.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils import logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.models.experts import open_experts
from eggs_core.models.meta import put, settle_released
from eggs_core.packed.names import FILE, METHOD, VERSION, VERSIONS
from eggs_core.reading import parse_json

if TYPE_CHECKING:  # they import torch at once
    from torch import Tensor, dtype
    from transformers import PreTrainedModel

    from eggs_core.packed.file import PackedFile

ELSEWHERE = (
    "Packed weights are multiplied as such on the CPU alone; elsewhere a layer gets a dense weight with its zeros when "
    "it is first used."
)
NOT_SAVED = (
    "A packed model is not written by save_pretrained: use eggs_core.save_packed(model, folder, tokenizer=tokenizer), "
    "or eggs_core.save_hf(model, tokenizer, folder) for an ordinary folder with its zeros."
)


@register_quantization_config(METHOD)
class EggsConfig(QuantizationConfigMixin):
    """What config.json says of packed weights; what the layers are stands in the packed file."""

    def __init__(self, format_version: str = VERSION, **_others: Any) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]  # of transformers' own methods there is an enumeration
        self.format_version = format_version


@register_quantizer(METHOD)
class EggsQuantizer(HfQuantizer):
    """Puts packed layers in the place of a model's own, and what the packed file holds into all of them."""

    requires_calibration = True
    is_trainable = False
    quantization_config: EggsConfig
    _file: PackedFile
    _dtype: dtype

    def validate_environment(self, *_args: Any, **_options: Any) -> None:
        """Raise EggsError for a version of the format that is not read here."""
        if (found := str(self.quantization_config.format_version)[:40]) not in VERSIONS:
            known = ", ".join(VERSIONS)
            raise EggsError(f"This folder has packed format {found!r}; this version of eggs_core reads {known}.")

    def update_dtype(self, dtype: dtype) -> dtype:
        """As asked for, which may be another than the file's."""
        self._dtype = dtype
        return dtype

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **options: Any) -> None:
        """Give the model, which is on the meta device, its packed layers; raises EggsError for a file that is none."""
        from eggs_core.packed.file import fill, opened, packed_layers, put_layers

        files: list[str] = options["checkpoint_files"] or []
        if len(files) != 1:
            raise EggsError(f"A packed model is one file, {FILE}, to which its folder's index leads; export it again.")
        self._file = opened(Path(files[0]))
        for target, source in model.all_tied_weights_keys.items():  # as tie_weights does nothing while models are made
            owner, _, child = target.rpartition(".")
            model.get_submodule(owner)._parameters[child] = model.get_parameter(source)
        put_layers(open_experts(model), self._file)
        second = (re.escape(name) for name in parse_json(self._file.metadata.get("tied", "{}")))
        model._keys_to_ignore_on_load_missing = [*(model._keys_to_ignore_on_load_missing or ()), *second]
        fill(model, self._file)
        settle_released(model)
        self._set_dtype(model)
        packed = {name for name, _ in packed_layers(model, tied=True)}
        ties = model.all_tied_weights_keys.items()
        model.all_tied_weights_keys = {n: to for n, to in ties if n.rpartition(".")[0] not in packed}

    def _set_dtype(self, model: PreTrainedModel) -> None:
        """Let the tensors that have the dtype of the stored weights be of the dtype that is asked for instead."""
        from eggs_core.packed.tables import packed_parts

        layers = dict(packed_parts(model))
        stored = next((layer.dtype for layer in layers.values()), self._dtype)
        for layer in layers.values():
            layer.dtype = self._dtype
        fixed = {f"{name}.{part}" for name, layer in layers.items() for part in layer.fixed}
        for name, tensor in model.state_dict().items() if self._dtype is not stored else ():
            if tensor.dtype is stored and name not in fixed:
                put(model, name, torch.empty_like(tensor, dtype=self._dtype, device="meta"))

    def update_weight_conversions(self, _conversions: list[Any], _model: PreTrainedModel) -> list[Any]:
        """None: the packed file has the model's own names."""
        return []

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_options: Any) -> PreTrainedModel:
        """Let the model's tensors be those of the mapped file, as far as dtype and device are not to be others.

        What the model has by a second name alone, transformers has just drawn at random.
        """
        from eggs_core.packed.file import fill
        from eggs_core.packed.tables import packed_parts

        for _, layer in packed_parts(model):
            for part, kind in layer.fixed.items():
                setattr(layer, part, None if (held := layer._buffers[part]) is None else held.to(kind))
        state = model.state_dict()
        places = {tensor.device.type for tensor in state.values()}
        if "meta" in places:
            raise EggsError(
                "Packed weights lie in a mapped file already and are not offloaded to disk; leave that out."
            )
        if places - {"cpu"}:
            logging.get_logger(__name__).warning(ELSEWHERE)
        made: dict[int, Tensor] = {}
        for name, tensor in self._file.tensors.items():
            made.setdefault(id(tensor), tensor.to(state[name]))
        fill(model, replace(self._file, tensors={name: made[id(t)] for name, t in self._file.tensors.items()}))
        del self._file
        return model

    def is_serializable(self) -> bool:
        """Raise EggsError, as save_pretrained asks."""
        raise EggsError(NOT_SAVED)
