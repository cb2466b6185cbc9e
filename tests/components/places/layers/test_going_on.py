"""Who goes on while an answer is under way finds what he went on to, however slow the machine is."""

import inspect
from collections.abc import Callable

import gradio as gr
import pytest

from app import build_app
from components.places.layers.graph.tab import create_graph_tab
from components.places.layers.mask.tab import create_masks_tab
from components.state.known_runs import first_run
from components.state.workspace import Workspace
from components.tab import Tab
from eggs_core.runs.run import Run

ONCE = {"begin", "end", "export", "build"}  # of buttons whose second click means nothing


class Watched(Run):
    """The first run, drawn anew; `meanwhile` happens once, while its mask is read for a drawing."""

    def __init__(self, meanwhile: Callable[[], None] | None = None) -> None:
        run = first_run()
        super().__init__(run.report, run.packed_masks, run.packed_topn, run.permutations)
        self.waiting = [meanwhile] if meanwhile else []

    def mask(self, name: str):
        """The mask, after what happens meanwhile."""
        if self.waiting:
            self.waiting.pop()()
        return super().mask(name)


@pytest.fixture(scope="module")
def tabs() -> dict[str, Tab]:
    with gr.Blocks():
        state = gr.State(None)
        return {"graph": create_graph_tab(state).tab, "masks": create_masks_tab(state).tab}


@pytest.fixture(scope="module")
def events() -> list:
    """The listeners of the page that call the server."""
    return [event for event in build_app().fns.values() if event.fn is not None and event.targets]


def shown(tab: Tab, layer: str, meanwhile: Callable[[Workspace], None] | None = None) -> dict:
    """What a visitor who opens a layer is sent, by component."""
    workspace = Workspace()
    workspace.show(Watched((lambda: meanwhile(workspace)) if meanwhile else None))
    workspace.open_layer(layer)
    return {component.elem_id: value for component, value in tab.render(workspace).items()}


def texts(values: dict) -> dict:
    return {name: value for name, value in values.items() if isinstance(value, str | dict)}


@pytest.mark.parametrize("part", ["masks", "graph"])
def test_who_opens_another_layer_while_one_is_drawn_sees_it_and_changes_nothing_for_others(part, tabs):
    here, there = (layer["name"] for layer in first_run().report["layers"][1:3])
    late = shown(tabs[part], here, lambda workspace: workspace.open_layer(there))
    assert texts(late) == texts(shown(tabs[part], there)) != texts(shown(tabs[part], here))
    assert here in str(shown(tabs[part], here))


def test_a_late_answer_does_not_put_the_old_window_back(tabs):
    """A graph of 16 channels is still being drawn when 32 are picked: whichever answer comes last shows 32."""

    def picked(workspace: Workspace) -> None:
        workspace.graph.size = 32

    late = shown(tabs["graph"], first_run().report["layers"][1]["name"], picked)
    for canvas in ("topn-graph", "mask-graph"):
        assert [len(late[canvas][side]["id"]) for side in ("inputs", "outputs")] == [32, 32]


def test_events_that_overtake_each_other_end_with_the_newest(events):
    """The page numbers them; here the older one arrives last."""
    workspace = Workspace()
    workspace.show(first_run())
    names = [layer["name"] for layer in workspace.run.report["layers"]]
    by_name = {event.fn.__qualname__: event.fn for event in events if hasattr(event.fn, "__qualname__")}

    def tell(name: str, **data) -> list:
        return by_name[name](workspace, gr.EventData(None, data))

    tell("Page.pick_layer", layer=names[3], turn=20.5)
    late = tell("Page.pick_layer", layer=names[2], turn=10.0)
    assert workspace.layer == names[3] and names[2] not in str(late)
    tell("Page.move_window", row=16, column=32, turn=40)
    tell("Page.move_window", row=0, column=0, turn=30)
    assert (workspace.row, workspace.column) == (16, 32)
    tell("GraphPanel.choose", side="inputs", members=[3, 7], turn=60)
    tell("GraphPanel.choose", side="inputs", members=[3], turn=50)
    assert workspace.graph.members == (35, 39)


def test_no_listener_drops_what_a_person_did_last(events):
    """Gradio drops an event while one is under way ("once"), or gives the last one the data of the first."""
    dropped, stale = set(), set()
    for event in events:
        given = inspect.signature(event.fn).parameters.values()
        if any(inspect.isclass(p.annotation) and issubclass(p.annotation, gr.EventData) for p in given):
            stale |= {event.name} if event.trigger_mode != "multiple" else set()
        elif event.trigger_mode == "once" and not event.queue:
            dropped.add(event.name)
    assert dropped <= ONCE and not stale
