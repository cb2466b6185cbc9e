"""Packed layers and packed models: worked by hand, by property, and against dense models of three architectures."""

import copy
import dataclasses
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM
from transformers.pytorch_utils import Conv1D

from eggs_core.errors import EggsError
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.call import REQUEST
from eggs_core.packed.kernel.library import kernel_path
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import pack_model, unpack_model
from eggs_core.pattern import NMPattern

P24 = NMPattern(2, 4)


def topn_mask(weight: torch.Tensor, pattern: NMPattern, permutation: torch.Tensor | None = None) -> torch.Tensor:
    out, columns = weight.shape
    order = torch.arange(columns) if permutation is None else permutation
    grouped = weight[:, order].abs().view(out, -1, pattern.group)
    kept = torch.zeros_like(grouped, dtype=torch.bool).scatter_(2, grouped.topk(pattern.keep, -1).indices, True)
    mask = torch.empty(out, columns, dtype=torch.bool)
    mask[:, order] = kept.view(out, columns)
    return mask


def tiny(kind: str) -> nn.Module:
    torch.manual_seed(0)
    common = {"vocab_size": 97, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": None}
    if kind == "llama":
        sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
        return LlamaForCausalLM(LlamaConfig(**common, **sizes, num_key_value_heads=2, pad_token_id=0)).eval()
    if kind == "opt":
        sizes = {"hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
        return OPTForCausalLM(OPTConfig(**common, **sizes, word_embed_proj_dim=64, pad_token_id=1)).eval()
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
    return GPT2LMHeadModel(GPT2Config(vocab_size=97, bos_token_id=0, eos_token_id=None, **sizes)).eval()


def masks_of(model: nn.Module, pattern: NMPattern, permuted: bool = False) -> tuple[dict, dict]:
    """Masks of all linear layers but the head, applied to the model's weights too; and permutations."""
    masks, permutations = {}, {}
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | Conv1D) or name == "lm_head":
            continue
        weight = layer.weight.data if isinstance(layer, nn.Linear) else layer.weight.data.t()
        if permuted:
            permutations[name] = torch.randperm(weight.shape[1])
        masks[name] = topn_mask(weight, pattern, permutations.get(name))
        weight *= masks[name]
    return masks, permutations


def greedy(model: nn.Module, tokens: int) -> torch.Tensor:
    ids = torch.tensor([[5, 17, 3, 80]])
    return model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)


def test_eight_weights_by_hand():
    weight = torch.tensor([[1.0, -2, 3, 4, 0.5, 0, 7, -8]])
    mask = torch.tensor([[False, True, False, True, True, False, False, True]])
    layer = PackedLinear.from_dense(weight, mask, P24)
    assert layer.values.tolist() == [[-2.0, 4.0, 0.5, -8.0]]
    assert layer.positions.tolist() == [[0b11_00_11_01]]  # places 1, 3 and 0, 3, the first in the lowest bits
    assert layer.to_dense().tolist() == [[0, -2, 0, 4, 0.5, 0, 0, -8]]
    assert layer(torch.tensor([1.0, 10, 100, 1000, 2, 20, 200, 2000])).tolist() == [-20 + 4000 + 1 - 16000]
    assert layer.nbytes == 4 * 4 + 4


def test_permuted_groups_by_hand():
    permutation = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # groups {0, 4, 1, 5} and {2, 6, 3, 7}
    mask = torch.tensor([[True, True, False, False, False, False, True, True]])  # 0 and 1; 6 and 7
    layer = PackedLinear.from_dense(torch.arange(1.0, 9)[None], mask, P24, permutation=permutation)
    assert layer.values.tolist() == [[1.0, 2.0, 7.0, 8.0]]
    assert layer.to_dense().tolist() == [[1, 2, 0, 0, 0, 0, 7, 8]]
    assert layer(torch.arange(1.0, 9)).tolist() == [1 + 4 + 49 + 64]
    with pytest.raises(EggsError, match="row 0 keeps 4 of the 4 weights in group 0 of its permuted"):
        PackedLinear.from_dense(
            torch.ones(1, 8), torch.tensor([[1, 1, 0, 0, 1, 1, 0, 0]]).bool(), P24, None, permutation
        )


@st.composite
def packed_cases(draw):
    group = draw(st.integers(1, 32))
    pattern = NMPattern(draw(st.integers(1, group)), group)
    shape = draw(st.integers(1, 9)), group * draw(st.integers(1, 6))
    return pattern, shape, draw(st.sampled_from(list(kernels.DTYPES))), draw(st.booleans()), draw(st.integers(0, 2**31))


@settings(max_examples=120, deadline=None)
@given(packed_cases())
def test_round_trip_is_exact_for_any_pattern(case):
    pattern, (out, columns), dtype, permuted, seed = case
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, columns, generator=generator).to(dtype)
    permutation = torch.randperm(columns, generator=generator) if permuted else None
    mask = topn_mask(weight, pattern, permutation)
    layer = PackedLinear.from_dense(weight, mask, pattern, permutation=permutation)
    assert torch.equal(layer.to_dense(), weight * mask)
    again = PackedLinear.from_dense(layer.to_dense(), mask, pattern, permutation=permutation)
    assert torch.equal(again.values, layer.values) and torch.equal(again.positions, layer.positions)


def test_bytes_meet_the_formula():
    weight = torch.randn(64, 4096)
    for dtype, bar in ((torch.float32, 0.54), (torch.bfloat16, 0.57)):
        layer = PackedLinear.from_dense(weight.to(dtype), topn_mask(weight, P24), P24)
        assert layer.nbytes / weight.to(dtype).nbytes == (0.53125 if dtype == torch.float32 else 0.5625) < bar


def test_input_shapes_strides_and_no_tokens():
    weight = torch.randn(8, 16)
    layer = PackedLinear.from_dense(weight, topn_mask(weight, P24), P24, torch.randn(8))
    dense = nn.Linear(16, 8)
    dense.weight.data, dense.bias.data = layer.to_dense(), layer.bias
    for x in (
        torch.randn(16),
        torch.randn(2, 3, 16),
        torch.randn(16, 5).t(),
        torch.randn(4, 32)[:, ::2],
        torch.randn(0, 16),
    ):
        assert layer(x).shape == dense(x).shape
        assert torch.allclose(layer(x), dense(x), atol=1e-5)
    with torch.inference_mode():
        assert torch.allclose(layer(x := torch.randn(1, 16)), dense(x), atol=1e-5)


def test_gradients_flow_to_the_input():
    weight = torch.randn(8, 16)
    layer = PackedLinear.from_dense(weight, topn_mask(weight, P24), P24)
    x = torch.randn(3, 16, requires_grad=True)
    layer(x).sum().backward()
    assert torch.allclose(x.grad, layer.to_dense().sum(0).expand(3, -1), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": torch.ones(4, 8, dtype=torch.bool)}, "row 0 keeps 4 of the 4 weights in group 0"),
        ({"mask": torch.ones(4, 8)}, "must be torch.bool"),
        ({"mask": torch.ones(8, 4, dtype=torch.bool)}, "must be the same two-dimensional shape"),
        ({"weight": torch.full((4, 8), float("nan"))}, "NaN or infinite"),
        ({"weight": torch.ones(4, 8, dtype=torch.float64)}, "not in torch.float64"),
        (
            {"weight": torch.ones(4, 6), "mask": torch.ones(4, 6, dtype=torch.bool)},
            r"divisible by 4.*layer a has shape",
        ),
        ({"weight": torch.ones(8)}, "needs a weight"),
        ({"bias": torch.ones(3)}, "needs a bias of 4 numbers"),
        ({"permutation": torch.zeros(8, dtype=torch.long)}, "each column number 0 to 7 once"),
        ({"permutation": torch.arange(7)}, "permutation of 8 whole numbers"),
        ({"permutation": torch.arange(8.0)}, "permutation of 8 whole numbers"),
    ],
)
def test_bad_input_is_told_in_one_sentence(change, words):
    weight = torch.randn(4, 8)
    arguments = {"weight": weight, "mask": topn_mask(weight, P24), "pattern": P24, **change}
    with pytest.raises(EggsError, match=words) as raised:
        PackedLinear.from_dense(**arguments, name="a")
    assert "layer a" in str(raised.value).lower()


def test_an_input_of_the_wrong_size_or_dtype_is_refused():
    layer = PackedLinear.from_dense(torch.randn(4, 8), topn_mask(torch.randn(4, 8), P24), P24)
    for x in (torch.randn(1, 12), torch.randn(1, 8, dtype=torch.bfloat16)):
        with pytest.raises(EggsError, match=r"A packed layer of 8 inputs in torch\.float32 on cpu got"):
            layer(x)


def test_copies_conversions_and_loaded_weights_are_noticed():
    weight = torch.randn(8, 16)
    layer = PackedLinear.from_dense(weight, topn_mask(weight, P24), P24)
    x, before = torch.randn(1, 16), None
    before = layer(x)
    twin = copy.deepcopy(layer)
    twin.values.zero_()
    assert twin(x).abs().max() == 0 and torch.equal(layer(x), before)
    half = copy.deepcopy(layer).to(torch.bfloat16)
    assert torch.allclose(half(x.bfloat16()).float(), before, atol=0.1)
    twin.load_state_dict(layer.state_dict(), assign=True)
    assert torch.equal(twin(x), before)


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2"])
@pytest.mark.parametrize("permuted", [False, True], ids=["in order", "permuted"])
def test_packed_models_generate_the_same_and_unpack_exactly(kind, permuted):
    model = tiny(kind)
    masks, permutations = masks_of(model, P24, permuted)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    logits, text = model(torch.arange(40)[None]).logits, greedy(model, 64)
    assert pack_model(model, masks, P24, permutations) is model
    assert (
        sum(isinstance(m, PackedLinear) for m in model.modules())
        == len(masks)
        == 2 * {"llama": 7, "opt": 6, "gpt2": 4}[kind]
    )
    with torch.no_grad():
        for ids in (torch.arange(40)[None], torch.arange(3)[None]):
            expected = logits[:, : ids.shape[1]]
            assert (model(ids).logits - expected).abs().max() < 1e-5 * expected.abs().max()
    assert torch.equal(greedy(model, 64), text)
    assert torch.equal(greedy(copy.deepcopy(model), 64), text)
    unpack_model(model)
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[k], before[k]) for k in before)
    assert not any(isinstance(m, PackedLinear) for m in model.modules())


def test_siblings_share_one_kernel_call_and_nothing_else(monkeypatch):
    model = tiny("llama")
    masks, _ = masks_of(model, P24)
    pack_model(model, masks, P24)
    attention = model.model.layers[0].self_attn
    layers = attention.q_proj, attention.k_proj, attention.v_proj
    expected = [m.to_dense() for m in layers]
    x = torch.randn(1, 1, 64)
    with torch.no_grad():
        for tokens in (x, torch.randn(2, 3, 64)):
            for layer, dense in zip(layers, expected, strict=True):
                assert torch.allclose(layer(tokens), tokens @ dense.T, atol=1e-5)
        layers[0](x)
        x += 1  # the same object with other contents: the stored products are stale
        assert torch.allclose(layers[1](x), x @ expected[1].T, atol=1e-5)
        if kernels.kernel() is not None:  # three calls, one product
            count, found = [], kernels.kernel()
            counting = {"linear": lambda asked: count.append(REQUEST.unpack(asked)[5]) or found.linear(asked)}
            monkeypatch.setattr(kernels, "_loaded", dataclasses.replace(found, **counting))
            y = torch.randn(1, 1, 64)
            for layer in layers:
                layer(y)
            assert count == [3]  # layers in it
            for _ in range(10):  # used alone, a projection stops computing its siblings
                layers[0](torch.randn(1, 1, 64))
            assert count[-1] == 1


def test_siblings_do_not_mix_threads():
    model = tiny("llama")
    masks, _ = masks_of(model, P24)
    pack_model(model, masks, P24)
    mlp, wrong = model.model.layers[0].mlp, []
    gate, up = mlp.gate_proj.to_dense(), mlp.up_proj.to_dense()

    def serve() -> None:
        for _ in range(100):
            x = torch.randn(1, 64)
            if not (
                torch.allclose(mlp.gate_proj(x), x @ gate.T, atol=1e-4)
                and torch.allclose(mlp.up_proj(x), x @ up.T, atol=1e-4)
            ):
                wrong.append(1)

    threads = [threading.Thread(target=serve) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not wrong


def test_pack_model_names_what_does_not_fit_and_changes_nothing():
    model = tiny("llama")
    masks, _ = masks_of(model, P24)
    name = next(iter(masks))
    for broken, words in (
        ({**masks, "model.nothing": masks[name]}, "no layer named model.nothing"),
        ({**masks, "model.norm": masks[name]}, "model.norm is a LlamaRMSNorm"),
        ({**masks, name: ~torch.zeros_like(masks[name])}, f"mask of layer {name} breaks 2:4"),
    ):
        with pytest.raises(EggsError, match=words):
            pack_model(model, broken, P24)
        assert not any(isinstance(m, PackedLinear) for m in model.modules())
    with pytest.raises(EggsError, match="permutation but no mask for layer lm_head"):
        pack_model(model, masks, P24, {"lm_head": torch.arange(64)})


def test_kernel_path_is_named():
    assert kernel_path() in kernels.PATHS or kernel_path().startswith("torch (")


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("pattern", "dtype"), [(P24, torch.float16), (P24, torch.float32), (NMPattern(1, 4), torch.bfloat16)], ids=str
)
def test_on_cuda_the_dense_weight_is_held_alone_and_all_comes_back(pattern, dtype):
    weight = torch.randn(256, 512)
    order = torch.randperm(512)
    here = PackedLinear.from_dense(weight.to(dtype), topn_mask(weight, pattern, order), pattern, None, order)
    torch.eye(8, device="cuda", dtype=dtype).mm(torch.eye(8, device="cuda", dtype=dtype))  # cuBLAS takes memory once
    before = torch.cuda.memory_allocated()
    layer, x = copy.deepcopy(here).cuda(), torch.randn(16, 512, dtype=dtype)
    close = {"atol": 0.5, "rtol": 0.02} if dtype is not torch.float32 else {"atol": 1e-3, "rtol": 1e-3}
    assert torch.allclose(layer(x.cuda()).cpu().float(), here(x).float(), **close)
    assert torch.cuda.memory_allocated() - before < 1.2 * weight.numel() * dtype.itemsize
    assert layer.path.startswith("dense with zeros on CUDA") and torch.equal(layer.to_dense().cpu(), here.to_dense())
    with pytest.raises(EggsError, match=r"on cuda:0 got an input .* on cpu"):
        layer(x)
    again = copy.deepcopy(layer)
    assert torch.equal(again(x.cuda()), layer(x.cuda()))
    back = layer.cpu()
    assert back.path == here.path and torch.equal(back(x), here(x))
