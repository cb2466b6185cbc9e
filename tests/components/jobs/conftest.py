"""A page with a queue of ours, for tests of who is let in and who is remembered."""

import gradio as gr
import pytest

from components.jobs.admission import admit_fairly


@pytest.fixture
def page() -> gr.Blocks:
    with gr.Blocks() as found:
        gr.State(list)
    found.queue()
    admit_fairly(found)
    return found
