"""Learn: a short lesson on one matrix small enough to prune by hand; `?step=degree-bound` opens it at that step."""

import dataclasses
from pathlib import Path

import gradio as gr
import torch

from components.events import CHEAP
from components.lesson import KEYS, STEPS, Scene, Step, bench_value, feedback, measures
from components.widgets.bench import MaskBench
from eggs_core.toy import SIZE

ADDRESS = "n => { const u = new URL(location); u.searchParams.set('step', n); history.replaceState(null, '', u); }"
TEACHING = Path(__file__).parents[1] / "docs" / "teaching.md"
NOTE = (
    "Figures are computed by the same code that prunes real models. The matrix was picked so that every step shows "
    "something: it illustrates the ideas and is no evidence for a method; the other tabs are."
)
SLIDES = "() => { document.querySelector('#lesson').requestFullscreen(); }"


def create_learn_tab(tabs: gr.Tabs) -> None:
    """Fill an open gr.Tab."""
    names = [(f"{i}. {step.name}", step.key) for i, step in enumerate(STEPS, 1)]
    with gr.Column(elem_id="lesson"):
        nav = gr.Radio(names, value=KEYS[0], label="Step", elem_id="lesson-steps")
        with gr.Row():
            with gr.Column(min_width=340):
                words = gr.Markdown(elem_id="lesson-words")
                slider = gr.Slider(0, 1, elem_id="lesson-slider")
                question = gr.Radio([], elem_id="lesson-question")
                said = gr.HTML(elem_id="lesson-feedback", padding=False)
                with gr.Row(elem_id="lesson-buttons"):
                    back = gr.Button("← Back", size="sm")
                    following = gr.Button("Next →", size="sm", variant="primary", elem_id="lesson-next")
                    slides = gr.Button("Full screen", size="sm", elem_id="lesson-slides")
            with gr.Column(min_width=340):
                bench = MaskBench(elem_id="lesson-bench")
                figures = gr.HTML(elem_id="lesson-measures", padding=False)
                extra = gr.HTML(elem_id="lesson-extra", padding=False)
        gr.HTML(f'<p class="facts">{NOTE}</p>', padding=False)
        with gr.Accordion("For teachers: plan of a 45-minute class, exercises and answers", open=False):
            gr.Markdown(TEACHING.read_text(encoding="utf-8"), elem_id="teaching")

    def scene_of(key: str, level: float, bits: str | None = None) -> tuple[Step, Scene]:
        step = STEPS[KEYS.index(key)]
        scene = step.scene(level)
        if bits is not None:
            mask = torch.tensor([bit == "1" for bit in bits]).view(SIZE, SIZE)
            scene = dataclasses.replace(scene, mask=mask)
        return step, scene

    def said_of(step: Step, scene: Scene, level: float) -> list:
        figures = measures(scene.judge(), scene.pattern, step.key == KEYS[-1]) if step.matrix else ""
        return [figures, step.extra(scene, level)]

    def show(key: str, level: float) -> list:
        step, scene = scene_of(key, level)
        return [bench_value(scene), *said_of(step, scene, level), None]

    def slide(key: str, level: float, bits: str | None) -> list:
        """A step whose slider leaves the matrix alone keeps what was clicked."""
        step, scene = scene_of(key, level, bits)
        return [gr.skip(), *said_of(step, scene, level), bits] if step.clicks_stay else show(key, level)

    def go(key: str) -> list:
        step = STEPS[KEYS.index(key)]
        label, low, high, by, start = step.slider or ("", 0, 1, 1, 0)
        value, *rest = show(key, start)
        return [
            f"## {step.name}\n\n{step.words}",
            gr.Slider(low, high, value=start, step=by, label=label, visible=step.slider is not None),
            gr.Radio(sorted(step.answers), value=None, label=step.question), "",
            MaskBench(value, visible=step.matrix), *rest,
        ]  # fmt: skip

    def move(by: int):
        def moved(key: str) -> list:
            number = min(max(KEYS.index(key) + by, 0), len(KEYS) - 1)
            return [KEYS[number], *go(KEYS[number])]

        return moved

    def edit(key: str, level: float, event: gr.EventData) -> list:
        bits = str(event.mask)
        if len(bits) != SIZE * SIZE or set(bits) - {"0", "1"}:
            raise gr.Error("A mask is 64 zeros and ones; reload the page.")
        return [*said_of(*scene_of(key, level, bits), level), bits]

    def open_lesson(request: gr.Request) -> list:
        asked = request.query_params.get("step", "")
        key = asked if asked in KEYS else KEYS[0]
        return [gr.Tabs(selected="learn") if asked in KEYS else gr.skip(), key, *go(key)]

    clicked = gr.State(None)  # the mask after clicks, as 64 characters
    content = [words, slider, question, said, bench, figures, extra, clicked]
    address = {"fn": None, "inputs": nav, "outputs": None, "js": ADDRESS, "queue": False, "api_visibility": "private"}
    nav.input(go, nav, content, **CHEAP)
    nav.input(**address)
    for button, by in ((back, -1), (following, 1)):
        button.click(move(by), nav, [nav, *content], **CHEAP).then(**address)
    slider.input(slide, [nav, slider, clicked], [bench, figures, extra, clicked], trigger_mode="always_last", **CHEAP)
    question.input(lambda key, answer: feedback(STEPS[KEYS.index(key)], answer), [nav, question], said, **CHEAP)
    bench.edit(edit, [nav, slider], [figures, extra, clicked], trigger_mode="always_last", **CHEAP)
    slides.click(None, None, None, js=SLIDES, queue=False, api_visibility="private")
    gr.context.Context.root_block.load(open_lesson, None, [tabs, nav, *content], **CHEAP)
