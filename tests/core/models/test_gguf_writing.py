"""GGUF files of our own: llama.cpp computes the same from them, and transformers reads the same weights back."""

import json

import pytest
import torch
import transformers
from llama_cpp import LlamaCpp
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from eggs_core.errors import EggsError
from eggs_core.models import gguf_families, gguf_writing
from eggs_core.models.gguf_families import FAMILIES, family_of
from eggs_core.models.gguf_tokenizer import vocabulary_of
from eggs_core.models.gguf_writing import write_gguf
from eggs_core.models.loading import load

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = 4096
SMALL = {
    "vocab_size": ROWS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
TANH = {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 32, "sliding_window": 8}
MODELS = {
    "llama": ("Llama", {}),
    "biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}),
    "llama 3": ("Llama", {"rope_parameters": LLAMA_3}),
    "linear": ("Llama", {"rope_parameters": LINEAR}),
    "mistral": ("Mistral", {"sliding_window": 128}),
    "qwen2": ("Qwen2", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {}),
    "gemma": ("Gemma", {"hidden_act": "gelu_pytorch_tanh"}),
    "gemma2": ("Gemma2", TANH),
    "gemma3": ("Gemma3Text", {**TANH, "num_hidden_layers": 7}),
    "gpt2": ("GPT2", {"head_dim": 16}),
}
IDS = torch.randint(1, ROWS, (24,), generator=torch.Generator().manual_seed(0))
TEXT = "My fellow citizens, 12,345 of you're here.\n\nWe  shall not   fail — naïve façade 日本."


@pytest.fixture(scope="module")
def tokenizer():
    return load("tiny-llama", torch.device("cpu")).tokenizer


def build(name: str):
    kind, changes = MODELS[name]
    model = AutoModelForCausalLM.from_config(getattr(transformers, f"{kind}Config")(**{**SMALL, **changes})).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms and biases, which are ones and zeros at first
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def logprobs(model, ids: torch.Tensor = IDS) -> torch.Tensor:
    return model(ids[None]).logits[0, -1].float().log_softmax(-1)


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_the_same(name, tokenizer, tmp_path):
    model = build(name)
    write_gguf(model.state_dict(), model.config, tokenizer, tmp_path / "a.gguf")
    found = LlamaCpp(tmp_path / "a.gguf", ROWS).logprobs(IDS.tolist())
    assert (found - logprobs(model)).abs().max() < 0.06 < logprobs(model).std() / 20


def test_it_would_be_seen_if_llama_cpp_computed_otherwise(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(gguf_writing, "rope_factors", lambda _: None)
    model = build("llama 3")
    write_gguf(model.state_dict(), model.config, tokenizer, tmp_path / "a.gguf")
    assert (LlamaCpp(tmp_path / "a.gguf", ROWS).logprobs(IDS.tolist()) - logprobs(model)).abs().max() > 0.5


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2"])
def test_our_own_reader_brings_the_weights_back(name, kind, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("EGGS_CONVERTED", str(tmp_path / "converted"))
    model = build(name)
    write_gguf(model.state_dict(), model.config, tokenizer, tmp_path / "a.gguf", kind)
    opened = load(str(tmp_path / "a.gguf"), torch.device("cpu"))
    before, after = model.state_dict(), opened.model.state_dict()
    assert before.keys() == after.keys()
    for key, weight in before.items():
        most = weight.abs().max() / (1000 if kind == "F16" or weight.dim() < 2 else 250)
        assert (after[key] - weight).abs().max() <= most, key
        assert torch.equal(after[key], weight.half().float()) or kind == "Q8_0" or weight.dim() < 2, key
    if name == "llama":  # of others transformers takes the tokenizer of the models that are known by that name
        assert opened.tokenizer(TEXT).input_ids == tokenizer(TEXT).input_ids


def test_zeros_stay_zeros(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("EGGS_CONVERTED", str(tmp_path / "converted"))
    model = build("llama")
    weight = model.model.layers[0].mlp.up_proj.weight.data
    weight[:, ::2] = 0
    write_gguf(model.state_dict(), model.config, tokenizer, tmp_path / "a.gguf", "Q8_0")
    opened = load(str(tmp_path / "a.gguf"), torch.device("cpu")).model
    read = opened.model.layers[0].mlp.up_proj.weight
    assert not read[:, ::2].any() and (read[:, 1::2] != 0).float().mean() > 0.9


CHANGES = {
    "llama": [
        ({"hidden_act": "gelu"}, "its activation is gelu"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "its RoPE is yarn"),
    ],
    "qwen2": [
        ({"rope_parameters": LLAMA_3}, "its RoPE is llama3"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "other blocks of it have a window"),
    ],
    "gemma2": [({"query_pre_attn_scalar": 24}, "its attention is scaled otherwise")],
    "gemma3_text": [
        ({"attn_logit_softcapping": 30.0}, "its attention is capped"),
        ({"layer_types": ["full_attention"] * 2}, "other blocks of it have a window"),
    ],
    "gpt2": [({"scale_attn_by_inverse_layer_idx": True}, "its attention is scaled otherwise")],
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_llama_cpp_computes_otherwise_is_refused(kind):
    for changes, said in CHANGES[kind]:
        config = transformers.CONFIG_MAPPING[kind](**{**SMALL, **(TANH if "gemma" in kind else {})})
        config.update(changes)
        with pytest.raises(EggsError, match=f"otherwise than this one: {said}; use hf instead"):
            family_of(config)


def test_what_llama_cpp_does_not_know_is_refused(tiny_model, tokenizer, tmp_path):
    for kind in ("opt", "mixtral"):
        with pytest.raises(EggsError, match=f"no GGUF export of '{kind}' models, only of llama, "):
            family_of(tiny_model(kind).config)
    model = build("qwen3")
    state = model.state_dict()
    for key, said in {
        "model.layers.0.extra": "no place for",
        "model.layers.0.self_attn.q_proj.bias": "no place",
    }.items():
        with pytest.raises(EggsError, match=said):
            write_gguf(state | {key: torch.ones(128)}, model.config, tokenizer, tmp_path / "a.gguf")
    state["model.layers.1.mlp.up_proj.weight"][0, 0] = 1e6
    with pytest.raises(EggsError, match=r"up_proj.weight has weights up to 1e\+06, which F16 cannot hold"):
        write_gguf(state, model.config, tokenizer, tmp_path / "a.gguf")


def test_families_are_those_of_llama_cpp():
    import gguf

    assert {family.name for family in FAMILIES.values()} <= set(gguf.MODEL_ARCH_NAMES.values())


# Tokenizers: whatever llama.cpp makes of a text must be what the tokenizer does.


def byte_level(tokenizer, **changes) -> PreTrainedTokenizerFast:
    """The bundled tokenizer with parts of its file changed."""
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    model = changes.pop("model", {})
    whole = whole | changes | {"model": whole["model"] | model}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(whole)), bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def sentence_piece(first: bool = True, metaspace: bool = False) -> PreTrainedTokenizerFast:
    """BPE as SentencePiece computes it: a piece's merges are all that make it, in the order of the pieces."""
    letters = ["▁", *"abcdefghilmnorstuwyMW,.5\n"]
    words = [
        "▁t",
        "he",
        "▁the",
        "in",
        "▁a",
        "re",
        "er",
        "▁w",
        "on",
        "▁of",
        "en",
        "▁s",
        "al",
        "an",
        "▁in",
        "▁and",
        "st",
        "ll",
        "▁▁",
        "el",
        "low",
        "▁fe",
        "▁fel",
        "▁fellow",
        "sh",
        "all",
        "fa",
        "il",
        "▁n",
    ]
    pieces = list(dict.fromkeys([*letters, "th", "▁o", "of", "▁f", "lo", "▁an", "nd", "▁sh", "fel", "ell", *words]))
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *pieces]
    merges = [
        (piece[:i], piece[i:])
        for piece in pieces
        for i in range(1, len(piece))
        if piece[:i] in pieces and piece[i:] in pieces
    ]
    ids = {token: number for number, token in enumerate(vocabulary)}
    made = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first" if first else "never", split=False)
    else:
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        made.normalizer = normalizers.Sequence(steps) if first else steps[1]
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in vocabulary[:3]])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
THREE = WORDS.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


def cut_by(pattern: str) -> dict:
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return json.loads(made.to_str())["pre_tokenizer"]


DIGITS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
TOKENIZERS = {
    "gpt-2": lambda own: own,
    "smollm": lambda own: byte_level(own, pre_tokenizer=DIGITS),
    "qwen2": lambda own: byte_level(own, pre_tokenizer=cut_by(WORDS), normalizer={"type": "NFC"}),
    "llama-bpe": lambda own: byte_level(own, pre_tokenizer=cut_by(THREE), model={"ignore_merges": True}),
    "SentencePiece": lambda _: sentence_piece(),
    "Metaspace": lambda _: sentence_piece(metaspace=True),
    "Gemma": lambda _: sentence_piece(first=False),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_llama_cpp_cuts_texts_as_the_tokenizer_does(kind, tokenizer, tmp_path):
    own, model = TOKENIZERS[kind](tokenizer), build("qwen3")
    assert vocabulary_of(own, ROWS).cut in (kind, "default")
    write_gguf(model.state_dict(), model.config, own, tmp_path / "a.gguf")
    theirs = LlamaCpp(tmp_path / "a.gguf", ROWS)
    spaced = "on" if kind == "Metaspace" else " on"  # llama.cpp puts a space before a space, too, and Metaspace none
    for text in (TEXT, "the fellows   shall all in 5 of 55", f"{spaced} the inn\n\n  and", "Ünïcode 😀"):
        assert (theirs.logprobs(text) - theirs.logprobs(own(text).input_ids)).abs().max() < 0.06, text
        assert (theirs.logprobs(text) - logprobs(model, torch.tensor(own(text).input_ids))).abs().max() < 0.06, text


def test_tokenizers_that_cannot_be_told_are_refused(tokenizer):
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    piece = json.loads(sentence_piece().backend_tokenizer.to_str())
    merges = piece["model"]["merges"]

    def with_merges(changed: list) -> PreTrainedTokenizerFast:
        text = json.dumps(piece | {"model": piece["model"] | {"merges": changed}})
        return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text), bos_token="<s>")

    twice = next(i for i in range(len(merges) - 1) if "".join(merges[i]) == "".join(merges[i + 1]))
    ends = byte_level(tokenizer, post_processor=whole["post_processor"])
    ends.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", pair="$A $B", special_tokens=[("<|endoftext|>", 0)]
    )
    spaced = whole["pre_tokenizer"] | {"add_prefix_space": True}
    cases = {
        "of the kind Unigram": PreTrainedTokenizerFast(tokenizer_object=unigram),
        "cuts texts into words in a way of its own": byte_level(tokenizer, pre_tokenizer=spaced),
        "changes texts before": byte_level(tokenizer, normalizer={"type": "Lowercase"}),
        "marks of their own": byte_level(tokenizer, model={"end_of_word_suffix": "</w>"}),
        "ends every text with a token": ends,
        "not those of SentencePiece": with_merges(merges[:-1]),
        "not in SentencePiece's order": with_merges([*merges[: twice + 1], *merges[twice + 2 :], merges[twice + 1]]),
    }
    for said, made in cases.items():
        with pytest.raises(EggsError, match=f"cannot be told to llama.cpp, as it.*{said}.*; use hf instead of gguf"):
            vocabulary_of(made, ROWS)
    with pytest.raises(EggsError, match="more tokens than the 100 of its model"):
        vocabulary_of(tokenizer, 100)
    assert gguf_families.rope_factors(build("qwen3").config) is None
