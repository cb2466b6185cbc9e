"""What the page tells the browser of its components."""

import asyncio
import copy

import gradio as gr
import pandas
import plotly.graph_objects as go
import pytest
from gradio.state_holder import SessionState

from app import build_app
from components.jobs.events import finish
from components.widgets.canvas import MaskCanvas
from components.widgets.plot import Plot
from components.widgets.sentence_blocks import SentenceBlocks


def test_the_configuration_is_plain_data():
    """Every visit copies it: anything else there, such as a listener, drags the whole page and its event loop along."""
    for component in build_app().get_config_file()["components"]:
        props = {k: v for k, v in component["props"].items() if component["type"] != "state"}
        found = copy.deepcopy(props)

        def walk(value, path):
            if isinstance(value, dict):
                for key, item in value.items():
                    walk(item, (*path, key))
            elif isinstance(value, list | tuple):
                for i, item in enumerate(value):
                    walk(item, (*path, i))
            else:
                assert value is None or isinstance(value, str | int | float | bool), (*path, type(value))

        walk(found, (component["type"], props.get("elem_id")))


def test_no_event_of_the_page_tells_its_outputs_how_it_stands():
    """The page would tell every component that was ever an output, at every click."""
    events = [d for d in build_app().get_config_file()["dependencies"] if d["backend_fn"] and d["targets"]]
    assert len(events) > 50
    for event in events:
        assert event["show_progress"] == "hidden" and event["show_progress_on"] == [], event["targets"]


def test_finished_values_are_those_that_gradio_would_send(tmp_path):
    """Figures, tables, files and new properties; skipped ones stay skipped."""
    file = tmp_path / "a.txt"
    file.write_text("a")
    table = pandas.DataFrame({"a": [1.5, 2.0], "b": ["x", "y"]})
    with gr.Blocks():
        outputs = [
            Plot(elem_id="a", title="A", said_by="b"),
            gr.HTML(),
            gr.Dataframe(),
            gr.File(visible=False),
            gr.Dropdown([]),
            MaskCanvas(),
            gr.Tabs(),
        ]
    values = [go.Figure(), "text", table, gr.File(str(file), visible=True), gr.Dropdown(["a"], value="a"), {"rows": 1}]
    values.append(gr.Tabs(selected="a"))
    sent = finish(outputs, dict(zip(outputs, values, strict=True)))
    assert sent[0] == go.Figure().to_json() and sent[1] == "text" and sent[5] == '{"rows": 1}'
    assert sent[2] == gr.Dataframe().postprocess(table).model_dump()
    assert sent[3]["value"] == gr.File().postprocess(str(file)).model_dump() and sent[3]["visible"] is True
    assert sent[4]["value"] == "a" and sent[4]["choices"] == ["a"] and sent[4]["__type__"] == "update"
    assert sent[6]["selected"] == "a" and "value" not in sent[6]
    assert finish(outputs[:1], {outputs[0]: gr.skip()}) == [gr.skip()]


def test_an_output_without_a_value_stays_as_it_is_and_a_stray_value_is_an_error():
    with gr.Blocks():
        one, two, other = gr.HTML(), gr.HTML(), gr.HTML()
    assert finish([one, two], {two: "text"}) == [gr.skip(), "text"]
    with pytest.raises(ValueError, match="no outputs of this event"):
        finish([one, two], {other: "text"})


def test_outputs_that_are_skipped_are_not_built_anew():
    """A session's first sight of a page skips some hundred of them, in the thread that answers all events."""
    with SentenceBlocks() as app:
        boxes = [gr.Textbox() for _ in range(4)]
        gr.Button().click(lambda: None, None, boxes)
    (event,), state = app.fns.values(), SessionState(app)

    def answer(*values):
        return asyncio.run(app.postprocess_data(event, list(values), state))

    assert answer(gr.skip(), "two", gr.skip(), gr.Textbox(label="four")) == [
        gr.skip(),
        "two",
        gr.skip(),
        {"label": "four", "__type__": "update"},
    ]
    assert [state[box._id] is box for box in boxes] == [True, True, True, False]
    assert answer(*[gr.skip()] * 4) == [gr.skip()] * 4
    assert answer("one", "two", "three", "four") == ["one", "two", "three", "four"]
    with pytest.raises(ValueError, match="needed: 4"):
        answer(gr.skip())
