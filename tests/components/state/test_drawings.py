"""What was drawn is drawn once, for as long as it is the same run."""

import threading
import time

import plotly.graph_objects as go
import pytest

from components.jobs.prune import partial_run
from components.state.drawings import Drawings
from components.state.known_runs import first_run
from components.state.workspace import Workspace
from eggs_core.config import make_config
from eggs_core.errors import EggsError


@pytest.fixture
def run():
    return partial_run(make_config("tiny-llama", "2:4", "ria"))


class Counted:
    """Something to draw that counts how often it is drawn."""

    def __init__(self, *values, seconds: float = 0.0) -> None:
        self.values, self.seconds, self.count = values, seconds, 0

    def __call__(self) -> list:
        self.count += 1
        time.sleep(self.seconds)
        return [*self.values]


def test_equal_views_of_one_run_are_drawn_once_and_others_apart(run):
    draw_once, make = Drawings(), Counted("text", go.Figure())
    first = draw_once([run], "a", make)
    assert first == draw_once([run], "a", make) and make.count == 1
    assert first[0] == "text" and first[1].startswith("{")  # the figure as JSON
    first[0] = "changed"  # by whoever asked
    assert draw_once([run], "a", make)[0] == "text"
    draw_once([run], "b", make)
    draw_once([partial_run(make_config("tiny-llama", "2:4", "ria"))], "a", make)  # equal, yet computed anew
    assert make.count == 3


def test_a_run_that_takes_the_place_of_one_that_is_gone_is_drawn_anew():
    draw_once, make = Drawings(), Counted("text")
    for _ in range(20):  # each is gone before the next, which is often made at the same address
        draw_once([partial_run(make_config("tiny-llama", "2:4", "ria"))], "a", make)
    assert make.count == 20


def test_drawings_of_runs_that_are_gone_go_too(run):
    draw_once = Drawings()
    draw_once([run], "a", Counted("text"))
    for _ in range(20):  # as by visitors who prune and leave
        draw_once([run, partial_run(make_config("tiny-llama", "2:4", "ria"))], "a", Counted("text"))
    assert len(draw_once._kept) <= 2


def test_what_is_kept_is_bounded_and_the_latest_stays(run):
    draw_once = Drawings(most_bytes=2500)
    makes = [Counted("x" * 1000) for _ in range(4)]
    for i, make in enumerate(makes):
        draw_once([run], i, make)
    draw_once([run], 3, makes[3])
    assert makes[3].count == 1
    draw_once([run], 0, makes[0])
    assert makes[0].count == 2
    huge = Counted({"bits": "x" * 5000})
    assert draw_once([run], "huge", huge) == draw_once([run], "huge", huge) and huge.count == 2  # too large to keep


def test_who_asks_for_what_is_being_drawn_waits_for_it(run):
    draw_once, make, found = Drawings(), Counted("text", seconds=0.2), []
    threads = [threading.Thread(target=lambda: found.append(draw_once([run], "a", make))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["text"]] * 5 and make.count == 1


def test_what_cannot_be_drawn_is_tried_again(run):
    draw_once = Drawings()

    def fails() -> list:
        raise EggsError("not at hand")

    for _ in range(2):
        with pytest.raises(EggsError):
            draw_once([run], "a", fails)
    assert draw_once([run], "a", Counted("text")) == ["text"]


def test_a_window_outside_the_matrix_moves_inside_for_every_visitor():
    """Also where the graph is not drawn anew."""
    import gradio as gr

    from components.places.layers.graph.tab import create_graph_tab

    with gr.Blocks():
        tab = create_graph_tab(gr.State(None)).tab
    places = []
    for _ in range(2):
        workspace = Workspace()
        workspace.show(first_run())
        workspace.row = workspace.column = 10**6
        shown = tab.render(workspace)
        places.append((workspace.row, workspace.column))
        by_name = {component.elem_id: value for component, value in shown.items()}
        assert places[-1] == (by_name["graph-row"], by_name["graph-column"])
    assert places[0] == places[1] and max(places[0]) < 10**6
