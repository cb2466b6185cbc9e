"""Embedding and head in 8 bits: their numbers, their place in a model, its bytes and its file."""

import copy
import json

import pytest
import torch
from torch import nn

from eggs_core.errors import EggsError
from eggs_core.models.architectures import linear_layers, tables
from eggs_core.packed.byte_counts import decode_bytes, size_breakdown
from eggs_core.packed.file import load_packed, opened
from eggs_core.packed.grid import Grid, rounded_table, table_grid
from eggs_core.packed.model import packed_copy, unpack_model
from eggs_core.packed.tables import PackedEmbedding
from eggs_core.packed.writing import save_packed
from eggs_core.pattern import NMPattern
from eggs_core.pruning.rounding import round_tables

pytestmark = pytest.mark.usefixtures("one_thread")
WHOLE = NMPattern(1, 1)
IDS = torch.arange(5)[None]


def packed(dense, bits: int = 8):
    """A packed copy that keeps every weight in some bits."""
    layers = list(linear_layers(dense))
    masks = {layer.name: torch.ones(layer.shape, dtype=torch.bool) for layer in layers}
    grids = {layer.name: table_grid(layer.weight()) if bits == 8 else Grid(bits) for layer in layers}
    return packed_copy(dense, masks, WHOLE, grids=grids)


def test_a_table_is_rounded_by_the_largest_of_32_numbers():
    weight = torch.zeros(2, 40)
    weight[0, 3], weight[0, 4], weight[1, 39] = -127.0, 0.6, 2.54
    rounded = rounded_table(weight)
    assert table_grid(weight).scales.tolist() == [[1.0, 1.0], [1.0, pytest.approx(0.02, rel=1e-3)]]
    assert rounded[0, 3] == -127 and rounded[0, 4] == 1 and rounded[1, 39] == pytest.approx(2.54, rel=1e-3)
    again = torch.randn(50, 70).mul_(0.1)
    assert torch.equal(rounded_table(rounded_table(again)), rounded_table(again))


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-opt"])
@torch.no_grad()
def test_embedding_and_head_follow_the_layers(bundled, name, tmp_path):
    dense = copy.deepcopy(bundled(name).model)
    embedding, head = tables(dense)
    assert head.weight is embedding.weight
    round_tables(dense)
    model = packed(dense)
    found, top = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(found, PackedEmbedding) and top.values is found.values
    assert torch.equal(found(IDS), embedding(IDS)) and torch.equal(top.to_dense(), head.weight)
    assert isinstance(packed(dense, 16).get_input_embeddings(), nn.Embedding)
    space = size_breakdown(model)
    assert space["embeddings"] - found.nbytes == size_breakdown(dense)["embeddings"] - embedding.weight.nbytes
    assert space["tables_saved"] == embedding.weight.nbytes - found.nbytes and space["head"] == 0
    masks = [layer.name for layer in linear_layers(dense)]
    assert size_breakdown(dense, masks, WHOLE, bits=8) == space
    assert decode_bytes(model)["head"] == top.nbytes
    file = save_packed(model, tmp_path / "model.safetensors")
    assert file.stat().st_size < 1.05 * space["packed_bytes"]
    again = load_packed(file)
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    assert again.get_output_embeddings().values is again.get_input_embeddings().values
    whole = unpack_model(again)
    assert torch.equal(whole.get_input_embeddings().weight, embedding.weight)
    assert whole.get_output_embeddings().weight is whole.get_input_embeddings().weight


def test_scales_of_an_embedding_stay_what_they_are(bundled):
    model = packed(copy.deepcopy(bundled("tiny-llama").model))  # what is not packed is shared with the dense model
    table = model.get_input_embeddings()
    before = table.scales.clone()
    model.bfloat16()
    assert table.dtype == torch.bfloat16 and table.scales.dtype == torch.float16 and torch.equal(table.scales, before)
    assert table(IDS).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "said", ["{}", '{"name": "nothing", "bits": 8, "dtype": "float32"}', "[", '{"name": "lm_head"}']
)
def test_a_damaged_description_of_the_embedding_is_refused(bundled, tmp_path, said):
    from safetensors.torch import save_file

    file = save_packed(packed(bundled("tiny-llama").model), tmp_path / "model.safetensors")
    held = opened(file)
    words = {key: value for key, value in held.metadata.items() if key != "sha256"} | {"embedding": said}
    stored = {name: t.clone() for name, t in held.tensors.items() if name not in json.loads(held.metadata["tied"])}
    save_file(stored, file, metadata=words)
    with pytest.raises(EggsError, match="description of the embedding does not fit"):
        load_packed(file)
