"""Stored tensors that transformers makes others of as it loads them, such as one tensor of all experts; and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.models.quantised import block_size, conversions, is_scale, spread
from eggs_core.models.stored_tensors import Piece

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


def plain_names(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of a model as transformers would save them."""
    from transformers.core_model_loading import revert_weight_conversion

    return {name: tensor.contiguous() for name, tensor in revert_weight_conversion(model, dict(tensors)).items()}


class Pieces:
    """The pieces of a checkpoint by their names in stored_tensors.matched, with transformers' own conversions."""

    def __init__(self, model: PreTrainedModel, pieces: Mapping[str, Piece]) -> None:
        self._model, self._pieces = model, pieces
        self._made: dict[str, list[str]] = {}  # names of the tensors that come of a target's pieces

    def __contains__(self, name: str) -> bool:
        return name in self._pieces

    def targets(self, names: Iterable[str]) -> list[str]:
        """The tensors of the model that these pieces became; they must have been joined before."""
        first = dict.fromkeys(self._pieces[name].target for name in names if name in self._pieces)
        return [made for target in first for made in self._made[target]]

    def joined(self, parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Tensors by the model's own names, of stored ones by theirs; all pieces of a tensor must be among them."""
        from transformers.core_model_loading import WeightConverter, dot_natural_key

        found = {name: tensor for name, tensor in parts.items() if name not in self._pieces}
        if len(found) == len(parts):
            return found
        converters = [t for t in conversions(self._model) if isinstance(t, WeightConverter)]
        by_rule = {rule: converter for converter in converters for rule in converter.source_patterns}
        open_ones: dict[str, WeightConverter] = {}
        pieces = [self._pieces[name] for name in parts if name in self._pieces]
        tensors = {self._pieces[name].key: tensor for name, tensor in parts.items() if name in self._pieces}
        self._spread(pieces, tensors)
        for piece in sorted(pieces, key=lambda piece: dot_natural_key(piece.key)):
            converter = open_ones.setdefault(piece.target, copy.deepcopy(by_rule[piece.rule]))
            converter.add_tensor(piece.target, piece.key, piece.rule, cast(Any, tensors[piece.key]))
        for target, converter in open_ones.items():
            made = converter.convert(target, model=self._model, config=self._model.config)
            made = {name: tensor[0] if isinstance(tensor, list) else tensor for name, tensor in made.items()}
            self._made[target] = list(made)
            found |= {name: tensor.contiguous() for name, tensor in made.items()}
        return found

    def target(self, name: str) -> str:
        """The first tensor of the model that a piece becomes a part of; the name itself of what is no piece."""
        return self._pieces[name].target if name in self._pieces else name

    def _spread(self, pieces: Iterable[Piece], tensors: dict[str, torch.Tensor]) -> None:
        """Give fp8 weights, in place, a scale for each row or column that their blocks do not divide."""
        if (block := block_size(self._model.config)) is None:
            return
        weights = {piece.key.rpartition(".")[0]: piece.key for piece in pieces if piece.key.endswith(".weight")}
        for piece in pieces:
            weight = weights.get(piece.key.rpartition(".")[0])
            if weight and is_scale(piece.key):
                tensors[piece.key] = spread(tensors[piece.key], tuple(tensors[weight].shape), block)

    def split(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The inverse, by names in the files; raises EggsError where transformers knows none."""
        if not tensors:
            return {}
        from transformers.core_model_loading import revert_weight_conversion

        found = revert_weight_conversion(self._model, dict(tensors))
        known = {piece.key for piece in self._pieces.values()}
        if lost := sorted(found.keys() - known):
            raise EggsError(
                f"{lost[0]} would be written under a name that the model's files do not have; prune it in memory."
            )
        return dict(found)
