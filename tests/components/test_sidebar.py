"""The sidebar's values become a configuration, or one sentence that says what is wrong."""

import hashlib
import html
from urllib.parse import parse_qsl

import gradio as gr
import pytest
from bos_model import make_bos_model

from components.address import address, asked_config
from components.sidebar import create_sidebar
from components.sidebar_values import (
    NAMES,
    OTHER,
    PATTERNS,
    controls_of,
    method_note,
    model_choices,
    name_of,
    pattern_note,
    read,
    read_pattern,
)
from components.state.workspace import Workspace
from eggs_core.bos import EVERY, FIRST
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.registry import CUSTOM, METHODS
from eggs_core.runs.suggestions import SUGGESTED, outlook

DEFAULTS = {
    "model": "tiny-llama",
    "pattern": "2:4",
    "keep": 2,
    "group": 4,
    "method": "ria",
    "score": "ria",
    "selection": "topn",
    "permutation": "none",
    "reconstruction": "none",
    "rotation": "none",
    "recovery": "none",
    "beta": None,
    "diagonals": None,
    "recovery_tokens": None,
    "recovery_rate": None,
    "recovery_seed": None,
    "windows": 64,
    "length": 256,
    "seed": 0,
    "source": "bundled",
    "text": "",
    "dataset": "",
    "bos": "every window",
    "layers": "",
    "values": "model",
}


def values(**changes) -> list:
    given = {**DEFAULTS, **changes}
    return [given[name] for name in NAMES]


def refused(**changes) -> str:
    with pytest.raises(EggsError) as caught:
        read(*values(**changes))
    return str(caught.value)


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_named_method_is_read_as_the_core_makes_it(method, pattern):
    config, texts = read(*values(method=method, pattern=pattern, **METHODS[method].choices()))
    assert config == make_config("tiny-llama", pattern, method)
    assert texts == {}


def test_the_defaults_give_the_configuration_of_the_command_line():
    config, _ = read(*values())
    assert config.key() == make_config("tiny-llama", "2:4", "ria").key()


def test_the_free_pattern_counts_only_when_it_is_chosen():
    assert read_pattern("2:4", 5, 20) == NMPattern(2, 4)
    assert read_pattern(OTHER, 5, 20) == NMPattern(5, 20)
    assert read_pattern(OTHER, 5.0, 20.0) == NMPattern(5, 20)


@pytest.mark.parametrize(
    ("keep", "group", "sentence"),
    [
        (5, 4, "cannot exceed M"),
        (0, 4, "at least 1"),
        (-1, 4, "at least 1"),
        (1, 64, "32"),
        (None, 4, "whole numbers"),
        (2, None, "whole numbers"),
        (1.5, 4, "whole numbers"),
    ],
)
def test_a_pattern_that_is_none_is_one_sentence(keep, group, sentence):
    with pytest.raises(EggsError, match=sentence):
        read_pattern(OTHER, keep, group)
    note = pattern_note(OTHER, keep, group)
    assert sentence in note
    assert "bad" in note


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_one_sentence(value):
    with pytest.raises(EggsError, match="whole numbers"):
        read_pattern(OTHER, value, 4)


def test_the_pattern_in_words():
    assert "keeps 1 of every 4 weights: 75% pruned" in pattern_note("1:4", 9, 9)
    assert "bad" not in pattern_note("1:4", 9, 9)


def test_beta_and_diagonals_count_only_for_their_selection():
    assert read(*values(beta=50, diagonals=3))[0].option("beta") is None
    config, _ = read(*values(selection="degree", beta=50, diagonals=3))
    assert (config.method, config.options) == (CUSTOM, (("beta", 0.5),))
    config, _ = read(*values(method="eggs-ptp", selection="diagonal", beta=50, diagonals=3))
    assert (config.method, config.options) == ("eggs-ptp", (("diagonals", 3),))
    assert read(*values(selection="degree"))[0].option("beta") is None  # automatic


@pytest.mark.parametrize(("option", "shown"), [(None, None), (0.0, 0), (0.125, 12.5), (0.29, 29)])
def test_beta_means_the_same_everywhere_and_automatic_is_no_number(option, shown):
    """0 is top-N, as in the graph and on the command line."""
    config = make_config(
        "tiny-llama", "2:4", CUSTOM, selection="degree", **({} if option is None else {"beta": option})
    )
    given = controls_of(config)
    assert given[NAMES.index("beta")] == shown
    assert read(*given)[0] == config


@pytest.mark.parametrize("pattern", ["50%", "30%", "3:8", "2:4"])
def test_controls_describe_any_pattern(pattern):
    config = make_config("tiny-llama", pattern, "wanda")
    assert read(*controls_of(config))[0] == config
    assert ("no packed form" in pattern_note(*controls_of(config)[1:4])) == pattern.endswith("%")


def test_an_option_out_of_its_range_is_one_sentence():
    assert "between 0 (top-N) and 1" in refused(selection="degree", beta=150)
    assert "between 0 (top-N) and 1" in refused(selection="degree", beta=-1)


def test_a_text_of_ones_own_travels_beside_the_configuration():
    text = "Four score and seven years ago"
    config, texts = read(*values(source="own", text=text))
    name = f"text:{hashlib.sha256(text.encode()).hexdigest()}"
    assert config.calibration == name
    assert texts[name].content == text
    assert config.evaluation == "bundled"


def test_a_dataset_is_named_in_the_configuration():
    config, texts = read(*values(source="dataset", dataset=" owner/name:part "))
    assert (config.calibration, texts) == ("dataset:owner/name:part", {})


@pytest.mark.parametrize("blank", ["", "  \n\t", None])
def test_a_chosen_text_must_be_given(blank):
    assert "Paste a text" in refused(source="own", text=blank)
    assert "Name a dataset" in refused(source="dataset", dataset=blank)


def test_only_the_chosen_text_counts():
    config, texts = read(*values(text="left over", dataset="left/over"))
    assert (config.calibration, texts) == ("bundled", {})


def test_what_cannot_be_is_refused_before_any_work():
    assert "Choose a model" in refused(model="  ")
    assert "Choose a model" in refused(model=None)
    assert "calibration windows" in refused(windows=None)
    assert "calibration windows" in refused(windows=0)
    assert "calibration length" in refused(length=9000)
    assert "seed" in refused(seed=-1)
    assert "diagonals" in refused(method="eggs-ptp", selection="diagonal", diagonals=-2)
    assert "obs" in refused(score="obs", method=CUSTOM)


def test_the_model_name_is_trimmed_and_otherwise_kept():
    assert read(*values(model="  owner/model "))[0].model == "owner/model"
    assert read(*values(model="<img src=x>"))[0].model == "<img src=x>"


@pytest.mark.parametrize("method", list(METHODS))
def test_choices_find_their_name(method):
    assert name_of(*METHODS[method].choices().values()) == method
    assert METHODS[method].summary in html.unescape(method_note(method))


def test_other_choices_are_custom():
    name = name_of("magnitude", "degree", "none", "none")
    assert name == CUSTOM
    assert "own combination" in method_note(name)


def test_numbers_reach_the_core_whatever_they_are():
    """A bound of gradio's own refuses a value before any listener sees it, in words that do not name the field."""
    with gr.Blocks():
        sidebar = create_sidebar()
    numbers = [control for control in sidebar.inputs if isinstance(control, gr.Number)]
    assert len(numbers) >= 7
    assert {(number.minimum, number.maximum) for number in numbers} == {(None, None)}


def test_an_opened_run_sets_the_controls_that_made_it(make_run):
    with gr.Blocks():
        sidebar = create_sidebar()
    workspace = Workspace()
    workspace.show(make_run("wanda"))
    values = sidebar.tab.render(workspace)
    shown = dict(zip(NAMES, (values[one] for one in sidebar.inputs), strict=True))
    assert METHODS["wanda"].summary in html.unescape(values[sidebar.method_note])
    assert (shown["model"], shown["method"], shown["score"], shown["windows"]) == ("micro", "wanda", "wanda", 2)


def test_bos_can_stand_before_the_text_only(tmp_path):
    model = make_bos_model(tmp_path / "with-bos")
    every, first = (read(*values(model=model, bos=rule))[0] for rule in (EVERY, FIRST))
    assert (every.bos, first.bos) == (EVERY, FIRST)
    assert read(*controls_of(first))[0] == first
    assert asked_config(parsed(address(Workspace(), first))) == first
    assert "got 'both'" in refused(bos="both")


def parsed(query: str) -> dict[str, str]:
    return dict(parse_qsl(query))


def test_models_to_choose_from_say_what_they_are():
    shown = model_choices()
    assert shown[:2] == [("tiny-llama", "tiny-llama"), ("tiny-opt", "tiny-opt")]
    assert (f"{SUGGESTED[0].name} · {outlook(SUGGESTED[0], False)}", SUGGESTED[0].name) in shown
