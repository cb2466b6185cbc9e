"""Embedding and LM head in 8 bits: what a packed model has beside its layers where their values are rounded."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from typing_extensions import TypedDict

from eggs_core.errors import EggsError
from eggs_core.models.architectures import tables
from eggs_core.packed.grid import TABLE_BITS, WHOLE, Grid, rounds_tables, scales_per_row, table_grid
from eggs_core.packed.kernel.huge_pages import Arena
from eggs_core.packed.kernel.library import DTYPES
from eggs_core.packed.linear import PackedLinear
from eggs_core.reading import parse_json
from eggs_core.validation import check

DTYPE_BY_NAME = {str(one).removeprefix("torch."): one for one in DTYPES}  # as a file names them


class EmbeddingSpec(TypedDict):
    """What a packed file says of an embedding in 8 bits."""

    name: str
    bits: int
    dtype: str  # of what is looked up


class PackedEmbedding(nn.Module):
    """An embedding of `num_embeddings` rows in 8 bits, which are multiplied out as they are looked up.

    Buffers: values (rows, columns) int8; scales (rows, ⌈columns / 32⌉) fp16. `dtype` is that of what is looked up.
    A head that is tied to it has the same two tensors.
    """

    values: Tensor
    scales: Tensor
    fixed = {"scales": torch.float16}  # noqa: RUF012 - as of PackedLinear

    def __init__(self, rows: int, columns: int, dtype: torch.dtype, device: torch.device | str | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.dtype = rows, columns, dtype
        count = scales_per_row(columns, WHOLE)
        self.register_buffer("values", torch.empty(rows, columns, dtype=torch.int8, device=device))
        self.register_buffer("scales", torch.empty(rows, count, dtype=torch.float16, device=device))

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids of any shape → (…, columns) in dtype."""
        flat = ids.reshape(-1)
        rows = Grid(TABLE_BITS, self.scales[flat]).values(self.values[flat], WHOLE)
        return rows.to(self.dtype).view(*ids.shape, self.embedding_dim)

    @property
    def weight(self) -> Tensor:
        """All rows in dtype, unpacked anew, for code that reads them by itself."""
        return Grid(TABLE_BITS, self.scales).values(self.values, WHOLE).to(self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return self.values.nbytes + self.scales.nbytes

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PackedEmbedding":
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.values.device)).dtype
        self.scales = self.scales.view(torch.int16)  # in every dtype they stay what they are
        super()._apply(fn, recurse)
        self.scales = self.scales.view(torch.float16)
        return self

    def extra_repr(self) -> str:
        """What print(model) shows of it."""
        return f"{self.num_embeddings}, {self.embedding_dim}, bits={TABLE_BITS}"


@dataclass(frozen=True, slots=True)
class Tables:
    """A model's embedding and head in 8 bits, with their names in the model."""

    embedding_name: str
    embedding: PackedEmbedding
    head_name: str
    head: PackedLinear

    def settle(self, arena: Arena) -> None:
        """Move the head's numbers to large pages; a tied embedding reads them there."""
        tied = self.embedding.values is self.head.values
        arena.settle(self.head)
        if tied:
            self.embedding.values = self.head.values

    def put(self, model: nn.Module) -> None:
        """Put both in the place of the model's own."""
        for name, module in ((self.embedding_name, self.embedding), (self.head_name, self.head)):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module)
        untie(model)


def packed_tables(model: nn.Module, grids: Mapping[str, Grid] | None) -> Tables | None:
    """A model's embedding and head in 8 bits where the layers' grids ask for that; the model stays as it is."""
    if not isinstance(model, PreTrainedModel) or not any(rounds_tables(grid.bits) for grid in (grids or {}).values()):
        return None
    found = tables(model)
    if found is None:
        return None
    names = {id(module): name for name, module in model.named_modules()}
    embedding, head = found
    layer = _head(head.weight, head.bias, names[id(head)])
    own = layer if head.weight is embedding.weight else _head(embedding.weight, None, names[id(embedding)])
    table = PackedEmbedding(embedding.num_embeddings, embedding.embedding_dim, own.dtype, "meta")
    assert own.scales is not None
    table.values, table.scales = own.values, own.scales
    return Tables(names[id(embedding)], table, names[id(head)], layer.train(head.training))


def _head(weight: Tensor, bias: Tensor | None, name: str) -> PackedLinear:
    mask = torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
    return PackedLinear.from_dense(weight, mask, WHOLE, bias, name=name, grid=table_grid(weight))


def packed_parts(model: nn.Module) -> Iterator[tuple[str, PackedLinear | PackedEmbedding]]:
    """All that is packed in a model, under every name: its layers, and an embedding in 8 bits."""
    found = model.named_modules(remove_duplicate=False)
    return ((name, module) for name, module in found if isinstance(module, PackedLinear | PackedEmbedding))


def put_embedding(model: nn.Module, said: str, file: str) -> None:
    """Put the embedding that a file describes, on the meta device, into its model; raises EggsError unless it fits."""
    try:
        known = check(parse_json(said), EmbeddingSpec, "embedding")
        old, dtype = model.get_submodule(known["name"]), DTYPE_BY_NAME[known["dtype"]]
        if type(old) is not nn.Embedding or known["bits"] != TABLE_BITS:
            raise ValueError("no embedding of 8 bits")
    except (KeyError, ValueError, AttributeError, EggsError) as error:
        raise EggsError(f"{file} is damaged: its description of the embedding does not fit its model.") from error
    parent, _, child = known["name"].rpartition(".")
    setattr(model.get_submodule(parent), child, PackedEmbedding(old.num_embeddings, old.embedding_dim, dtype, "meta"))
    untie(model)


def embedding_of(model: nn.Module) -> tuple[str, PackedEmbedding] | None:
    """The name and the embedding of a model that has one in 8 bits."""
    return next(((name, one) for name, one in model.named_modules() if isinstance(one, PackedEmbedding)), None)


def untie(model: nn.Module) -> None:
    """Let transformers forget what it would tie to an embedding in 8 bits: the head has its tensors already."""
    found, ties = embedding_of(model), getattr(model, "all_tied_weights_keys", None)
    if found is not None and ties:
        left = {to: source for to, source in ties.items() if source != f"{found[0]}.weight"}
        setattr(model, "all_tied_weights_keys", left)  # noqa: B010 - a module's type knows tensors alone


def unpack_embedding(model: nn.Module) -> None:
    """Undo what `Tables.put` does to the embedding."""
    found = embedding_of(model)
    if found is None:
        return
    name, packed = found
    dense = nn.Embedding(packed.num_embeddings, packed.embedding_dim, device="meta")
    dense.weight = nn.Parameter(packed.weight)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, dense.train(packed.training))
