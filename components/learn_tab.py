"""Learn: a short lesson on one matrix small enough to prune by hand; `?step=N` opens it at a step."""

import gradio as gr
import torch

from components.lesson import STEPS, bench_value, feedback, measures
from components.widgets.bench import MaskBench
from eggs_core.toy import SIZE, judge

CHEAP = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
ADDRESS = "n => { const u = new URL(location); u.searchParams.set('step', n); history.replaceState(null, '', u); }"
SLIDES = "() => { document.querySelector('#lesson').requestFullscreen(); }"


def create_learn_tab(tabs: gr.Tabs) -> None:
    """Fill an open gr.Tab."""
    names = [(f"{i}. {step.name}", i) for i, step in enumerate(STEPS, 1)]
    with gr.Column(elem_id="lesson"):
        nav = gr.Radio(names, value=1, label="Step", elem_id="lesson-steps")
        with gr.Row():
            with gr.Column(min_width=340):
                words = gr.Markdown(elem_id="lesson-words")
                slider = gr.Slider(0, 1, elem_id="lesson-slider")
                question = gr.Radio([], elem_id="lesson-question")
                said = gr.HTML(elem_id="lesson-feedback", padding=False)
            with gr.Column(min_width=340):
                bench = MaskBench(elem_id="lesson-bench")
                figures = gr.HTML(elem_id="lesson-measures", padding=False)
        slides = gr.Button("Full screen, for a projector", size="sm", elem_id="lesson-slides")

    def show(number: int, level: float) -> list:
        scene = STEPS[number - 1].scene(level)
        found = judge(scene[0], scene[1], scene[2])
        return [bench_value(scene), measures(found, scene[2], number == len(STEPS))]

    def go(number: int) -> list:
        step = STEPS[number - 1]
        label, low, high, by, start = step.slider or ("", 0, 1, 1, 0)
        return [
            f"## {step.name}\n\n{step.words}",
            gr.Slider(low, high, value=start, step=by, label=label, visible=step.slider is not None),
            gr.Radio(sorted(step.answers), value=None, label=step.question), "", *show(number, start),
        ]  # fmt: skip

    def edit(number: int, level: float, event: gr.EventData) -> str:
        bits = str(event.mask)
        if len(bits) != SIZE * SIZE or set(bits) - {"0", "1"}:
            raise gr.Error("A mask is 64 zeros and ones; reload the page.")
        layer, _, pattern = STEPS[number - 1].scene(level)
        mask = torch.tensor([bit == "1" for bit in bits]).view(SIZE, SIZE)
        return measures(judge(layer, mask, pattern), pattern, number == len(STEPS))

    def open_lesson(request: gr.Request) -> list:
        asked = request.query_params.get("step", "")
        known = asked in [str(i) for i in range(1, len(STEPS) + 1)]
        number = int(asked) if known else 1
        return [gr.Tabs(selected="learn") if known else gr.skip(), number, *go(number)]

    content = [words, slider, question, said, bench, figures]
    nav.input(go, nav, content, **CHEAP)
    nav.input(None, nav, None, js=ADDRESS, queue=False, api_visibility="private")
    slider.input(show, [nav, slider], [bench, figures], trigger_mode="always_last", **CHEAP)
    question.input(lambda n, answer: feedback(STEPS[n - 1], answer), [nav, question], said, **CHEAP)
    bench.edit(edit, [nav, slider], figures, trigger_mode="always_last", **CHEAP)
    slides.click(None, None, None, js=SLIDES, queue=False, api_visibility="private")
    gr.context.Context.root_block.load(open_lesson, None, [tabs, nav, *content], **CHEAP)
