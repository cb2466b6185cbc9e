"""Timings, races and counted bytes, on tiny random models."""

import itertools
import json

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from eggs_core.errors import EggsError
from eggs_core.packed.byte_counts import decode_bytes, size_breakdown
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import pack_model, packed_copy
from eggs_core.packed.writing import save_packed
from eggs_core.pattern import NMPattern
from eggs_core.speed.alternation import Quartiles, alternate, thread_count
from eggs_core.speed.generation import greedy, measure_generation, race, sample
from eggs_core.speed.layers import layer_shapes, measure_layers, memory_bandwidth
from eggs_core.speed.sampling import drawn, likeliest

P24 = NMPattern(2, 4)
IDS = torch.arange(6)[None]


def pair(tied: bool = True) -> tuple[nn.Module, nn.Module, dict]:
    """A dense model with zeros, the same one packed, and the masks."""
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = LlamaConfig(vocab_size=61, tie_word_embeddings=tied, max_position_embeddings=64, **sizes)
        models.append(LlamaForCausalLM(config).eval())
    masks = {}
    for name, layer in models[0].named_modules():
        if isinstance(layer, nn.Linear) and name != "lm_head":
            masks[name] = torch.tensor([True, False, False, True]).repeat(
                layer.weight.shape[0], layer.weight.shape[1] // 4
            )
            for model in models:
                model.get_submodule(name).weight.data *= masks[name]
    return models[0], pack_model(models[1], masks, P24), masks


def test_quartiles_by_hand():
    assert Quartiles.of([4, 1, 3, 2, 5]) == Quartiles(3, 2, 4, 5)
    with pytest.raises(EggsError, match="no timings"):
        Quartiles.of([])


def test_functions_take_turns_and_the_time_is_bounded():
    order = []
    times = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=5, warm_up=2)
    assert order == ["a", "b"] * 7 and times["a"].count == times["b"].count == 5
    assert alternate({"a": lambda: None}, rounds=1000, seconds=0)["a"].count == 3


def test_thread_count_is_put_back():
    before = torch.get_num_threads()
    with pytest.raises(ValueError), thread_count(1) as used:
        assert used == torch.get_num_threads() == 1
        raise ValueError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("beyond_cache", [0, 100_000])
def test_layers_are_timed_dense_and_packed_in_both_dtypes(beyond_cache):
    timings = list(
        measure_layers([(32, 64)], P24, tokens=(1, 64), threads=1, rounds=4, seconds=0.1, beyond_cache=beyond_cache)
    )
    assert [(t.out_features, t.in_features, t.tokens, t.threads) for t in timings] == [(32, 64, 1, 1), (32, 64, 64, 1)]
    for timing in timings:
        assert set(timing.dense) == set(timing.packed) == {"fp32", "bf16"}
        assert timing.packed["fp32"].count >= 3 and timing.packed["fp32"].low <= timing.packed["fp32"].high
        assert timing.speedup("fp32") > 0 and timing.best_dense in timing.dense and timing.best_speedup > 0
        json.dumps(timing.to_dict(), allow_nan=False)
        assert timing.bandwidth("fp32") == timing.packed_bytes["fp32"] / timing.packed["fp32"].median / 1e9
    assert timings[0].packed_bytes == {"fp32": 32 * 32 * 4 + 32 * 2 * 4, "bf16": 32 * 32 * 2 + 32 * 2 * 4}
    if kernels.kernel() is not None:
        one, many = (timing.paths["fp32"] for timing in timings)
        assert "," not in one and many.endswith((", tokens side by side", "torch's GEMM"))


def test_a_loop_that_only_reads_as_many_bytes_takes_turns_with_the_products():
    (timing,) = measure_layers([(64, 256)], P24, tokens=(1,), threads=1, rounds=4, seconds=0.1, ceiling=True)
    for name in ("fp32", "bf16"):
        read = timing.read[name]
        assert read.count == timing.packed[name].count and read.median > 0
        assert timing.ceiling(name) == timing.dense[name].median / read.median
        assert timing.read_share(name) == pytest.approx(timing.speedup(name) / timing.ceiling(name))
    json.dumps(timing.to_dict(), allow_nan=False)


@pytest.mark.parametrize("length", [0, 1, 63, 1000, (1 << 18) + 5])
def test_reading_memory_covers_every_number_once(length):
    found = kernels.kernel()
    if found is None:
        pytest.skip("no kernel here")
    data = torch.ones(length)
    for threads in (1, 2, 3):
        for path in range(found.best + 1):
            total = found.lib.eggs_read_memory(data.data_ptr(), length, threads, path, found.parallel)
            assert total == length, (threads, path)


def test_a_shape_that_the_pattern_does_not_divide_is_told():
    with pytest.raises(EggsError, match="divisible by 4"):
        list(measure_layers([(8, 6)], P24, tokens=(1,)))


def test_layer_shapes_of_dense_packed_and_transposed_models():
    dense, packed, _ = pair()
    assert layer_shapes(dense) == layer_shapes(packed) == [(32, 32), (64, 32), (32, 64)]
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=32, n_layer=1, n_head=2))
    assert layer_shapes(gpt2) == [(96, 32), (32, 32), (128, 32), (32, 128)]
    assert any(isinstance(m, Conv1D) for m in gpt2.modules())


def test_generation_is_timed_and_its_texts_compared():
    dense, packed, _ = pair()
    timing = measure_generation(dense, packed, IDS, new_tokens=6, rounds=3, threads=1)
    assert timing["texts_equal"] and len(timing["texts"]["dense"]) == 6 and timing["threads"] == 1
    assert timing["dense"]["first_token_ms"]["count"] == 3 and timing["packed"]["ms_per_token"]["count"] == 15
    assert timing["dense"]["dtype"] == "fp32" and timing["kernel"] == kernels.kernel_path()
    for side in (timing["dense"], timing["packed"]):
        assert side["decode_tokens_per_s"]["median"] == pytest.approx(1000 / side["ms_per_token"]["median"])
        assert side["prefill_tokens_per_s"]["median"] == pytest.approx(6000 / side["first_token_ms"]["median"])
    expected = dense.generate(IDS, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0)
    assert timing["texts"]["dense"] == expected[0, 6:].tolist()
    json.dumps(timing, allow_nan=False)


def test_a_pruned_model_and_its_masks_are_packed_for_the_measurement_only():
    dense, _, masks = pair()
    pruned, _, _ = pair()
    dense.model.layers[0].mlp.up_proj.weight.data += 1  # the dense model says something else
    timing = measure_generation(dense, pruned, IDS, masks, P24, {}, new_tokens=4, rounds=1)
    assert set(timing["texts"]) == {"dense", "zeros", "packed"} and timing["texts_equal"]
    assert not any(isinstance(m, PackedLinear) for m in pruned.modules())
    twin = packed_copy(pruned, masks, P24)
    assert twin.model.embed_tokens.weight is pruned.model.embed_tokens.weight
    assert sum(isinstance(m, PackedLinear) for m in twin.modules()) == len(masks)
    with pytest.raises(EggsError, match="needs the N:M pattern"):
        measure_generation(dense, pruned, IDS, masks)


def test_generation_ends_where_the_model_does():
    dense, _, _ = pair()
    steps = greedy(dense, torch.zeros(1, 63, dtype=torch.long))
    next(steps), next(steps)
    with pytest.raises(EggsError, match="at most 64 tokens"):
        next(steps)
    with pytest.raises(EggsError, match=r"got \(1, 0\)"):
        next(greedy(dense, torch.zeros(1, 0, dtype=torch.long)))


def test_race_shows_both_sides_with_running_rates():
    dense, packed, _ = pair()
    steps = list(race(dense, packed, IDS, 5))
    texts = {side: [s.token for s in steps if s.side == side] for side in ("dense", "packed")}
    assert texts["dense"] == texts["packed"] and len(texts["dense"]) == 5
    for side in texts:
        mine = [s for s in steps if s.side == side]
        assert [s.index for s in mine] == [1, 2, 3, 4, 5] and mine[0].tokens_per_second == 0
        assert mine[4].tokens_per_second == pytest.approx(4 / (mine[4].seconds - mine[4].first_token))
    behind = {"dense": 0.0, "packed": 0.0}
    for step in steps:
        assert behind[step.side] == min(behind.values())  # whoever has used less time comes next
        behind[step.side] = step.seconds
        if step.index == 5:
            break  # that side has arrived; the other runs on alone


def test_race_can_be_stopped_and_ends_at_the_end_token():
    dense, packed, _ = pair()
    seen = []
    for step in race(dense, packed, IDS, 50, stop=lambda: len(seen) >= 3):
        seen.append(step)
    assert len(seen) == 3
    running = race(dense, packed, IDS, 50)
    next(running)
    running.close()
    end = seen[0].token
    assert all(s.index == 1 for s in race(dense, packed, IDS, 50, end_token=end))


def test_memory_bandwidth_is_a_plausible_rate():
    rate = memory_bandwidth(megabytes=64, repeats=2)
    assert 0.2 < rate < 5000
    with kernels.force_path("torch"):
        assert 0.2 < memory_bandwidth(megabytes=64, repeats=2) < 5000


@pytest.mark.parametrize("tied", [True, False])
def test_bytes_are_counted_once_and_alike_from_both_sides(tied, tmp_path):
    dense, packed, masks = pair(tied)
    weights = sum(m.numel() for m in masks.values())
    counted = size_breakdown(dense, masks, P24)
    assert counted == size_breakdown(packed)
    assert counted["dense_pruned"] == 4 * weights
    assert counted["values"] == 2 * weights and counted["positions"] == weights // 8 and counted["permutations"] == 0
    assert counted["embeddings"] == 61 * 32 * 4 and counted["head"] == (0 if tied else 61 * 32 * 4)
    assert counted["dense_bytes"] == sum(p.nbytes for p in dense.parameters())
    assert counted["packed_bytes"] == counted["untouched"] + 2.125 * weights
    assert counted["formula"] == "2:4: 4 B × 2/4 + 2 bit / 8 × 2/4 = 2.125 B per weight, 53.1% of dense"
    permuted = size_breakdown(dense, masks, P24, {next(iter(masks)): torch.arange(32)})
    assert permuted["packed_bytes"] == counted["packed_bytes"] + 4 * 32
    on_disk = save_packed(packed, tmp_path / "a.safetensors").stat().st_size
    assert 0 < on_disk - counted["packed_bytes"] < 10_000  # the header
    assert size_breakdown(dense)["packed_pruned"] == 0
    assert size_breakdown(dense)["dense_bytes"] == counted["dense_bytes"]
    with pytest.raises(EggsError, match="no layer named nothing"):
        size_breakdown(dense, ["nothing"], P24)
    with pytest.raises(EggsError, match="needs the N:M pattern"):
        size_breakdown(dense, masks)


def test_decode_reads_the_layers_the_head_and_one_row_of_the_embeddings():
    dense, packed, masks = pair()
    weights = sum(m.numel() for m in masks.values())
    table, norms = 61 * 32 * 4, 5 * 32 * 4
    assert decode_bytes(dense) == {
        "linear": 4 * weights,
        "head": table,
        "other": norms + 32 * 4,
        "total": 4 * weights + table + norms + 32 * 4,
    }
    assert decode_bytes(packed)["linear"] == 2.125 * weights
    assert decode_bytes(packed)["head"] == table


def test_the_same_chance_gives_equal_models_the_same_text_and_follows_the_distribution(bundled):
    model = bundled("tiny-llama").model
    ids = torch.tensor([[11, 12, 13]])

    def take(heat, seed, n=12):
        return list(itertools.islice(sample(model, ids, heat, seed), n))

    assert take(0.8, 3) == take(0.8, 3) and take(0.8, 3) != take(0.8, 4)
    assert take(0.0, 3) == [token for token, _ in itertools.islice(greedy(model, ids), 12)]
    with torch.no_grad():
        shares = model(input_ids=ids).logits[0, -1].softmax(-1)
    likeliest = shares.argmax().item()
    draws = [take(1.0, seed, 1)[0] for seed in range(300)]
    expected, spread = 300 * shares[likeliest].item(), (300 * shares[likeliest] * (1 - shares[likeliest])).sqrt().item()
    assert abs(draws.count(likeliest) - expected) < 4 * spread


def test_the_likeliest_tokens_with_a_share_are_the_fewest_that_have_it():
    chances = torch.tensor([[0.1, 0.5, 0.05, 0.3, 0.05]])
    assert likeliest(chances, 0.5).tolist() == [1]
    assert likeliest(chances, 0.51).tolist() == [1, 3]
    assert sorted(likeliest(chances, 0.9).tolist()) == [0, 1, 3]
    assert len(likeliest(torch.full((1, 5000), 1 / 5000), 0.5)) == pytest.approx(2500, abs=2)
    logits = chances.log()
    assert {int(drawn(1.0, seed, 0.7)(logits)) for seed in range(60)} == {1, 3}
    assert {int(drawn(0.01, seed)(logits)) for seed in range(20)} == {1}


def test_the_likeliest_tokens_are_drawn_by_the_same_chance_as_all():
    logits = torch.randn(1, 500)
    for seed in range(30):
        token = int(drawn(1.0, seed)(logits))
        if token in likeliest(logits.softmax(-1), 0.6):
            assert int(drawn(1.0, seed, 0.6)(logits)) == token
