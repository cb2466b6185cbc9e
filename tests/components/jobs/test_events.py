"""The pair of buttons that starts and stops heavy work: whatever ends a work, the start button comes back."""

import gradio as gr
import pytest

from app import build_app
from components.jobs.events import _Job
from components.state.workspace import Workspace
from eggs_core.errors import EggsError


@pytest.fixture
def job() -> _Job:
    with gr.Blocks():
        start, stop, said = gr.Button("Start", elem_id="start"), gr.Button("Stop"), gr.HTML()
        more = gr.HTML()
    return _Job(start, stop, [said, more], lambda _workspace: {said: "Stopped.", more: "as far as it came"})


def test_a_start_whose_values_no_control_may_have_gives_the_buttons_back(job):
    workspace = Workspace()
    job.begin(workspace)
    assert job.show_buttons(workspace)[job.start].interactive is False
    assert job.give_up(workspace)[job.start].interactive is True
    assert workspace.jobs == {}


def test_a_work_that_fails_shows_what_a_stop_shows_and_its_sentence(job):
    workspace, seen = Workspace(), []
    job.begin(workspace)

    def work(_follow, _workspace):
        yield {job.outputs[0]: "Running…"}
        raise EggsError("No.")

    for said, more in job.run(work, workspace):
        seen.append((said, more, dict(workspace.jobs)))
    assert seen[0][0] == "Running…" and seen[0][2]
    assert "No." in seen[1][0] and seen[1][1] == "as far as it came"
    assert seen[1][2] == {}, "the work must be over before what it leaves is drawn"


def test_every_start_is_followed_by_what_comes_after_success_and_after_failure():
    events = {event["id"]: event for event in build_app().get_config_file()["dependencies"]}
    runs = [event for event in events.values() if event["types"]["generator"] and event["trigger_after"] is not None]
    assert len(runs) > 8
    for run in runs:
        after = [event for event in events.values() if event["trigger_after"] == run["id"]]
        assert {(e["trigger_only_on_success"], e["trigger_only_on_failure"]) for e in after} == {
            (True, False),
            (False, True),
        }


def test_a_start_that_the_server_has_forgotten_is_done_all_the_same(job):
    """Gradio forgets sessions where there are too many: the page must not wait for nothing."""
    seen = list(job.run(lambda _follow, _workspace: ({job.outputs[0]: text} for text in ["Done."]), Workspace()))
    assert [said for said, _ in seen] == ["Done."]


def test_a_start_that_was_stopped_before_it_began_says_nothing_more(job):
    workspace = Workspace()
    job.begin(workspace)
    workspace.end(job.name)
    (values,) = job.run(lambda _follow, _workspace: ({job.outputs[0]: text} for text in ["Done."]), workspace)
    assert "Done." not in values
