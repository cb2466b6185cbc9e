"""Suggestions say how large a model is and what becomes of it here; a public server names only what it takes."""

from transformers import CONFIG_MAPPING

from eggs_core.models.meta import skeleton
from eggs_core.runs import suggestions as module
from eggs_core.runs.suggestions import NO_BREAK, SUGGESTED, outlook, suggestions

SMOL = SUGGESTED[0]


def said(*args) -> str:
    return outlook(*args).replace(NO_BREAK, " ")


def test_they_go_from_small_to_large():
    sizes = [one.parameters for one in SUGGESTED]
    assert sizes == sorted(sizes)
    assert 130e6 < sizes[0] < 140e6 and 8e9 < sizes[-1] < 8.5e9
    assert len({one.name for one in SUGGESTED}) == len(SUGGESTED)


def test_parameters_are_those_of_the_configuration():
    sizes = {"hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536, "vocab_size": 49152}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    model = skeleton(CONFIG_MAPPING["llama"](**sizes, **heads))
    assert sum(p.numel() for p in model.parameters()) == SMOL.parameters


def test_what_becomes_of_one_here(monkeypatch):
    assert said(SMOL, True, lambda _device: 1 << 40) == "135 M · 269.0 MB · fits in memory"
    assert said(SMOL, True, lambda _device: 1 << 20) == "135 M · 269.0 MB · streamed from disk"
    assert said(SMOL, False) == "135 M · 269.0 MB · needs the internet"
    assert said(SUGGESTED[4], False).startswith("1.5 B · 3.1 GB · ")
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda _name, _file: "/cache/config.json")
    assert said(SMOL, False, lambda _device: 1 << 40) == "135 M · 269.0 MB · fits in memory"


def test_a_public_server_suggests_what_it_takes(monkeypatch):
    assert suggestions() == list(SUGGESTED)
    monkeypatch.setenv("EGGS_HOSTED", "1")
    assert suggestions()[-1].name == "HuggingFaceTB/SmolLM2-1.7B"
