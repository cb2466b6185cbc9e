"""A registry with a score, a selection's option and a stage that nobody else knows: do all its readers know them?

A script, for an interpreter of its own: the rows stand in the registry's source before anything reads it.
"""

import importlib.util
import inspect
import sys
import types
from pathlib import Path
from urllib.parse import parse_qsl

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
SCORE = 'Entry("Noise", "None at all.", "rows:noise")'
LUCK = 'Option("Luck, %", "L", "luck", "How lucky", "a half", "Luck must lie between 0 and 1", 0, 1)'
SELECTION = f'Entry("by luck", "As it comes.", "rows:by_luck", {{"luck": {LUCK}}})'
SPEED = 'Option("Speed", "speed", "a speed", "Turns", "1", "The speed must be 1 to 9", 1, 9, True)'
HALF = f'Entry("half a turn", "Upside down.", "rows:half", {{"turn_speed": {SPEED}}})'
STAGE = f'Dimension("Turning", "Turn it first?", {{"none": Entry("none", "As it is.", "rows:none"), "half": {HALF}}})'
ROWS = {  # where a row goes -> the row
    '            "How important is a weight?",\n            {\n': f'"noise": {SCORE},\n',
    '            "Which N of M are kept?",\n            {\n': f'"luck": {SELECTION},\n',
    "STAGES: Mapping[str, Dimension] = MappingProxyType(\n    {\n": f'"turn": {STAGE},\n',
}


def with_rows() -> None:
    """Let the registry be the one in its file with all ROWS in it, and their module be there."""
    import eggs_core

    spec = importlib.util.find_spec("eggs_core.registry")
    source = Path(spec.origin).read_text(encoding="utf-8")
    for place, row in ROWS.items():
        assert source.count(place) == 1, place
        source = source.replace(place, place + row)
    eggs_core.registry = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    exec(compile(source, spec.origin, "exec"), vars(eggs_core.registry))
    rows = sys.modules["rows"] = types.ModuleType("rows")
    rows.noise, rows.none, rows.half = (lambda *_: None for _ in range(3))


def configurations_know_them():
    from eggs_core.config import PruneConfig, make_config
    from eggs_core.errors import EggsError

    plain = {"permutation": "none", "reconstruction": "none"}
    own = make_config("tiny-llama", "2:4", "custom", score="noise", selection="luck", luck=0.25, **plain)
    turned = make_config("tiny-llama", "2:4", "ria", turn="half", turn_speed=3)
    for made in (own, turned):
        assert PruneConfig.from_dict(made.to_dict()) == made
    assert own.key() != own.changed(luck=None).key()
    assert own.in_words() == "noise · luck, L 0.25" and turned.in_words() == "RIA · half a turn, speed 3"
    assert "--score noise --selection luck" in own.command_line() and "--luck 0.25" in own.command_line()
    assert "--turn half --turn-speed 3" in turned.command_line()
    assert turned.method == "ria" and turned.without("turn") == make_config("tiny-llama", "2:4", "ria")
    assert len({turned.key(), turned.changed(turn_speed=None).key(), turned.without("turn").key()}) == 3
    assert make_config("tiny-llama", "2:4", "eggs-ptp").key() == "d97ba89b63e4b402"  # as before there were these rows
    for wrong, says in (
        ({"luck": 0.5}, "Selection topn does not use luck; leave it out or choose selection luck."),
        ({"selection": "luck", "luck": 2.0}, "Luck must lie between 0 and 1; got 2.0."),
        ({"turn_speed": 3}, "Turn none does not use a speed; leave it out or choose turn half."),
        ({"turn": "half", "turn_speed": 10}, "The speed must be 1 to 9; got 10."),
        ({"turn": "twice"}, "Unknown turn 'twice'; choose one of none, half."),
    ):
        try:
            make_config("tiny-llama", "2:4", "wanda", **wrong)
        except EggsError as error:
            assert str(error) == says, error
        else:
            raise AssertionError(wrong)
    return own, turned


def core_reads_options() -> None:
    import torch

    from eggs_core.masks.selection import Selection, by_topn, select
    from eggs_core.pattern import NMPattern

    def by_luck(scores, pattern, luck=None):
        return Selection(by_topn(scores, pattern).mask, "by luck", {"luck": luck})

    sys.modules["rows"].by_luck = by_luck
    assert select(torch.rand(4, 8), NMPattern(2, 4), "luck", luck=0.25).options == {"luck": 0.25}


def commands_and_grids_know_them(own, turned) -> None:
    from typer.testing import CliRunner

    from eggs_core.cli.command_line import app
    from eggs_core.sweep.grid import describe, parse_grid

    shown = CliRunner().invoke(app, ["prune", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for flag, help in (("--luck", "How lucky"), ("--turn", "Turn it first?"), ("--turn-speed", "speed of turn half")):
        assert flag in shown and help in shown, flag
    assert "noise" in shown
    custom = "{score: noise, selection: luck, luck: 0.25, permutation: none, reconstruction: none}"
    turning = "{method: ria, turn: half, turn_speed: 3}"
    grid = parse_grid(f"models: tiny-llama\npatterns: 2:4\nmethods: [{custom}, {turning}]")
    assert grid.cells == (own, turned)
    assert describe(turned) == "tiny-llama 2:4 ria half speed 3 seed 0"


def the_page_and_the_api_know_them(own, turned) -> None:
    import gradio as gr

    from components import address, api, sidebar_values
    from components.sidebar import create_sidebar

    for made in (own, turned):
        assert sidebar_values.read(*sidebar_values.controls_of(made))[0] == made
        assert address.asked_config(dict(parse_qsl(address.address(address.Workspace(), made)))) == made
    with gr.Blocks() as page:
        create_sidebar()
    ids = {block.elem_id: block for block in page.blocks.values()}
    assert ("Noise", "noise") in ids["score"].choices and ids["luck"].label == "Luck, %"
    assert ids["turn"].choices == [("none", "none"), ("half a turn", "half")] and ids["turn"].value == "none"
    assert ids["turn-fold"].label == "Turning" and ids["turn_speed"].label == "Speed"
    folded = {inner.elem_id for form in ids["turn-fold"].children for inner in (form, *getattr(form, "children", ()))}
    assert {"turn", "turn_speed"} <= folded
    prune = api._with_choices(api.prune)
    taken = {name: one.annotation for name, one in inspect.signature(prune).parameters.items()}
    assert (taken["luck"], taken["turn"], taken["turn_speed"]) == (float | None, str | None, int | None)
    assert "turn_speed: speed of turn half. Turns; automatic: 1." in prune.__doc__


def labels_and_cards_know_them(turned) -> None:
    from components.words.labels import run_label
    from eggs_core.runs.model_card import model_card
    from eggs_core.runs.run import Run, load_run

    run = load_run(ROOT / "assets" / "runs" / "tiny-llama-2of4-ria")
    run = Run({**run.report, "config": turned.to_dict(), "key": turned.key()}, {})
    card = model_card(run, "hf")
    assert "| turning | half a turn |" in card and "| speed | 3 |" in card and "--turn half" in card
    assert run_label(run) == turned.in_words()


if __name__ == "__main__":
    with_rows()
    both = configurations_know_them()
    core_reads_options()
    commands_and_grids_know_them(*both)
    the_page_and_the_api_know_them(*both)
    labels_and_cards_know_them(both[1])
    print("all rows arrived")
