"""The native token step against transformers: every covered family, dense and packed, and what it leaves alone."""

import itertools
import threading
from pathlib import Path

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, DynamicCache

from eggs_core.masks.selection import topn
from eggs_core.models.architectures import linear_layers
from eggs_core.models.loading import load
from eggs_core.packed.grid import Grid
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import packed_copy
from eggs_core.pattern import NMPattern
from eggs_core.speed import generation
from eggs_core.speed.native_step import NATIVE, NativeStep, decode_path
from eggs_core.speed.reader import Reader, written
from eggs_core.text.windows import prompt_ids

SMOLLM2 = Path.home() / ".cache" / "eggs" / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 400,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0}
SCALED = {"rope_theta": 1e4, "original_max_position_embeddings": 32}
WINDOW = {"sliding_window": 8}
FAMILIES = [
    ("llama", {}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "rope_parameters": LLAMA3 | SCALED}),
    ("llama", {"hidden_act": "gelu", "tie_word_embeddings": True, "rope_parameters": YARN | SCALED}),
    ("mistral", WINDOW),
    ("qwen2", WINDOW | {"use_sliding_window": True, "max_window_layers": 2}),
    ("qwen3", {}),
    ("gemma", {}),
    ("gemma2", WINDOW | {"query_pre_attn_scalar": 8}),
    ("gemma3_text", WINDOW | {"query_pre_attn_scalar": 8}),
]


def tiny(kind: str, extra: dict | None = None) -> torch.nn.Module:
    """A random model whose norms, biases and logits are far from trivial."""
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SMALL, **(extra or {})})).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.randn_like(tensor) * 0.3 if tensor.ndim > 1 else tensor + torch.randn_like(tensor) * 0.2)
    return model


def random_masks(model: torch.nn.Module, patterns: list[str]) -> tuple[dict, dict, dict]:
    """Masks, patterns and permutations of all layers but the head, the patterns in turn, every other layer permuted."""
    masks, chosen, orders = {}, {}, {}
    names = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    for number, name in enumerate(names):
        pattern = NMPattern.parse(patterns[number % len(patterns)])
        out, columns = model.get_submodule(name).weight.shape
        mask = torch.zeros(out, columns // pattern.group, pattern.group, dtype=torch.bool)
        mask.scatter_(2, torch.rand(mask.shape).topk(pattern.keep, -1).indices, True)
        masks[name], chosen[name] = mask.view(out, -1), pattern
        if number % 2:
            order = torch.randperm(columns)
            masks[name] = torch.zeros_like(masks[name]).index_copy_(1, order, masks[name])
            orders[name] = order
    return masks, chosen, orders


@torch.no_grad()
def worst_error(model: torch.nn.Module, reference: torch.nn.Module, ids: torch.Tensor, starts=(1, 11)) -> float:
    """The native logits' largest relative distance from those of one pass through transformers."""
    expected, worst = reference(ids).logits[0].float(), 0.0
    for start in starts:
        cache = DynamicCache(config=model.config)
        model(ids[:, :start], cache=cache, use_cache=True)
        step = NativeStep(model, cache, start)
        for place in range(start, ids.shape[1]):
            best = step(int(ids[0, place]))
            assert best == int(step.logits.argmax())
            worst = max(worst, float((step.logits[0] - expected[place]).norm() / expected[place].norm()))
    return worst


@pytest.mark.parametrize(("kind", "extra"), FAMILIES, ids=[f"{k}-{i}" for i, (k, _) in enumerate(FAMILIES)])
def test_logits_equal_those_of_transformers(kind, extra):
    model, ids = tiny(kind, extra), torch.randint(0, 64, (1, 40))
    assert decode_path(model) == NATIVE
    assert worst_error(model, model, ids) < 1e-4
    masks, patterns, orders = random_masks(model, ["2:4", "1:4", "3:4", "4:8", "2:8", "8:16", "1:2"])
    packed = packed_copy(model, masks, patterns, orders)
    assert decode_path(packed) == NATIVE and any(isinstance(m, PackedLinear) for m in packed.modules())
    assert worst_error(packed, packed, ids) < 1e-4
    for path in (p for p in ("portable C", "AVX2") if p in kernels.PATHS[: kernels.kernel().best + 1]):
        with kernels.force_path(path):
            assert worst_error(packed, packed, ids[:, :16], (3,)) < 1e-4


def test_long_texts_are_read_in_chunks_by_one_thread_or_two():
    """Seven queries share a key, heads fill no whole registers, and a window begins and ends inside a chunk."""
    heads = {"num_attention_heads": 7, "num_key_value_heads": 1, "head_dim": 20, "max_position_embeddings": 700}
    ids = torch.randint(0, 64, (1, 604))
    for extra in ({}, {"sliding_window": 500}):
        model = tiny("mistral", heads | {"num_hidden_layers": 2} | extra)
        for path in ("portable C", "AVX2", "AVX-512"):
            if path in kernels.PATHS[: kernels.kernel().best + 1]:
                with kernels.force_path(path):
                    assert worst_error(model, model, ids, (598,)) < 1e-4
        logits = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            reader = Reader(model)
            list(reader.read(ids))
            reader.step(3)
            logits.append(reader.logits.clone())
        torch.set_num_threads(1)
        assert torch.equal(*logits)


@pytest.mark.parametrize("bits", [[8], [4], [16, 8, 4, 3, 2]], ids=str)
def test_rounded_values_take_the_native_step(bits):
    """Layers of whole numbers round what they read, so that a last bit of difference becomes one of 255 steps."""
    model, ids = tiny("llama", {"attention_bias": True}), torch.randint(0, 64, (1, 20))
    masks, patterns, orders = random_masks(model, ["2:4", "1:1", "1:4", "4:8", "3:4"])
    grids = {}
    for number, (name, mask) in enumerate(masks.items()):
        grid = Grid.ones(tuple(mask.shape), patterns[name], bits[number % len(bits)])
        grids[name] = Grid(grid.bits, None if grid.scales is None else 0.3 * torch.rand(grid.scales.shape).half())
    packed = packed_copy(model, masks, patterns, orders, grids)
    assert decode_path(packed) == NATIVE and worst_error(packed, packed, ids[:, :8], (1,)) < 2e-2
    for path in (p for p in ("portable C", "AVX2") if p in kernels.PATHS[: kernels.kernel().best + 1]):
        with kernels.force_path(path):
            assert worst_error(packed, packed, ids[:, :8], (3,)) < 2e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_narrow_weights_come_nearer_to_the_truth_than_narrow_activations(dtype):
    narrow = tiny("llama").to(dtype)
    wide = tiny("llama")
    wide.load_state_dict(narrow.state_dict())
    ids = torch.randint(0, 64, (1, 30))
    with torch.no_grad():
        theirs = narrow(ids).logits[0].float()
        truth = wide(ids).logits[0]
    theirs_off = float(((theirs - truth).norm(dim=-1) / truth.norm(dim=-1)).max())
    assert worst_error(narrow, wide, ids, (1,)) <= max(theirs_off, 1e-4)


def test_greedy_text_is_that_of_transformers(bundled):
    dense = bundled("tiny-llama")
    masks, patterns, orders = random_masks(dense.model, ["2:4", "3:4"])
    prompt = torch.arange(20, 60)[None]
    for model in (dense.model, packed_copy(dense.model, masks, patterns, orders)):
        native = [token for token, _ in itertools.islice(generation.greedy(model, prompt), 128)]
        theirs = generation.greedy(model, prompt, native=False)
        assert native == [token for token, _ in itertools.islice(theirs, 128)]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dense", "packed"])
def test_smollm2_says_what_it_says_through_transformers(form):
    if not SMOLLM2.is_file():
        pytest.skip(f"{SMOLLM2} is not there")
    opened = load(str(SMOLLM2))
    model = opened.model
    if form == "packed":
        pattern = NMPattern.parse("2:4")
        masks = {layer.name: topn(layer.weight().abs(), pattern) for layer in linear_layers(model)}
        model = packed_copy(model, masks, pattern)
    assert decode_path(model) == NATIVE
    ids = prompt_ids(opened.tokenizer, "The history of the United States begins with people who came from Asia.")
    assert ids.shape[1] > 12 and worst_error(model, model, ids, (4,)) < 1e-4
    native, theirs = (generation.greedy(model, ids, native=native) for native in (True, False))
    assert [next(native)[0] for _ in range(128)] == [next(theirs)[0] for _ in range(128)]


def test_the_cache_grows_and_threads_do_not_change_a_number():
    model, texts = tiny("llama"), []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        steps = generation.greedy(model, torch.arange(5)[None])
        texts.append([token for token, _ in itertools.islice(steps, 330)])
    torch.set_num_threads(1)
    assert texts[0] == texts[1] == texts[2]


def test_two_texts_at_once_do_not_mix():
    model = tiny("qwen3")
    prompts = [torch.randint(0, 64, (1, 7)) for _ in range(4)]
    alone = [[t for t, _ in itertools.islice(generation.greedy(model, p), 60)] for p in prompts]
    found: dict[int, list[int]] = {}

    def write(number: int) -> None:
        found[number] = [t for t, _ in itertools.islice(generation.greedy(model, prompts[number]), 60)]

    running = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert [found[n] for n in range(4)] == alone


def test_what_is_not_covered_goes_through_transformers(bundled):
    assert decode_path(bundled("tiny-opt").model) == "transformers (OPTForCausalLM is not covered)"
    model = tiny("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0} | SCALED})
    assert "positions change" in decode_path(model)
    hooked = tiny("llama")
    hook = hooked.model.layers[0].register_forward_hook(lambda *_: None)
    assert "hooks" in decode_path(hooked)
    hook.remove()
    assert decode_path(hooked) == NATIVE
    with kernels.force_path("torch"):
        assert decode_path(hooked).startswith("transformers")


@pytest.mark.parametrize(("kind", "extra"), FAMILIES, ids=[f"{k}-{i}" for i, (k, _) in enumerate(FAMILIES)])
def test_a_text_that_goes_on_is_not_read_again(kind, extra):
    """From its end, or from any place before it; with a sliding window only from one behind the prompt."""
    model, first = tiny(kind, extra), torch.randint(0, 64, (1, 20))
    windowed = "sliding_window" in extra
    for shared, known in ((31, 31), (25, 25), (20, 20), (9, 0 if windowed else 9)):  # of 31 that were read
        reader, fresh = Reader(model), Reader(model)
        list(reader.read(first))
        text = [*first[0].tolist(), *itertools.islice(written(reader), 12)]
        longer = torch.tensor([[*text[:shared], (text[shared] + 1) % 64, 3, 5, 7]])
        list(reader.read(longer))
        assert reader.known == known
        list(fresh.read(longer))
        assert fresh.known == 0
        assert torch.allclose(reader.logits, fresh.logits, rtol=1e-3, atol=1e-4)
        assert list(itertools.islice(written(reader), 9)) == list(itertools.islice(written(fresh), 9))


def test_a_prompt_that_is_read_in_parts_can_be_left_and_gone_on_with():
    model, ids = tiny("llama"), torch.randint(0, 64, (1, 30))
    reader, whole = Reader(model), Reader(model)
    list(whole.read(ids))
    next(reader.read(ids, part=8))
    assert len(list(reader.read(ids, part=8))) == 3 and reader.known == 8
    assert torch.allclose(reader.logits, whole.logits, rtol=1e-4, atol=1e-5)
    list(reader.read(ids))
    assert reader.known == 29, "the last token gives the logits, and is read again"


def test_what_transformers_cache_holds_after_a_failure_is_not_trusted(monkeypatch):
    model, ids = tiny("llama"), torch.randint(0, 64, (1, 10))
    reader = Reader(model, native=False)
    list(reader.read(ids))
    list(reader.read(torch.cat([ids, ids], 1)))
    assert reader.known == 10
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reader.step(1)
    monkeypatch.undo()
    list(reader.read(ids))
    assert reader.known == 0
