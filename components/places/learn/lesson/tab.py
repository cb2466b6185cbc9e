"""Learn: a short lesson on one matrix small enough to prune by hand; `?step=degree-bound` opens it at that step."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, EACH, Values
from components.places.learn.lesson.scene import Scene, Step, bench_value, feedback, measures
from components.places.learn.lesson.steps import KEYS, STEPS
from components.state.asked import told
from components.widgets.assets import script
from components.widgets.bench import MaskBench
from components.widgets.context import open_blocks
from components.words.html import facts_line
from eggs_core.assets import ROOT
from eggs_core.errors import EggsError

SHOW_STEP = """() => setTimeout(() => {
  const bar = document.querySelector('#lesson-steps'), label = bar?.querySelector('input:checked')?.closest('label');
  if (!label) return;
  label.parentElement.scrollTo({ left: label.offsetLeft - label.parentElement.clientWidth / 2 });
  if (bar.getBoundingClientRect().top < 0) bar.scrollIntoView();
}, 50)"""
ADDRESS = "name => places.step(name)"
HAS_COME = "() => { document.documentElement.dataset.lesson = 'here'; }"  # it is hidden until then
# Gradio would answer with an error what a page sends of a step that it has just left, or of a forgotten session.
AS_SENT: dict[str, Any] = {**CHEAP, "preprocess": False}
TEACHERS = "teachers"  # ?step=teachers opens the teachers' page
TEACHING = ROOT / "docs" / "teaching.md"
NOTE = (
    "Figures are computed by the same code that prunes real models. The matrix was picked among 40,000 so that every "
    "step shows something: it illustrates the ideas and is no evidence for a method; the other places are."
)


@dataclass(frozen=True, slots=True)
class Lesson:
    """The components of the lesson."""

    nav: gr.Radio
    words: gr.Markdown
    slider: gr.Slider
    choice: gr.Radio
    bench: MaskBench
    measures: gr.HTML
    extra: gr.HTML
    question: gr.Radio
    message: gr.HTML
    back: gr.Button
    following: gr.Button
    anew: gr.Button
    slides: gr.Button
    printer: gr.Button
    clicked: gr.State  # the mask after clicks, as 64 characters
    done: gr.State  # steps answered rightly

    @property
    def seen(self) -> list[Block]:
        """What follows the matrix."""
        return [self.bench, self.measures, self.extra, self.clicked]

    @property
    def content(self) -> list[Block]:
        """What another step changes."""
        asked = [self.words, self.slider, self.choice, self.question, self.message]
        return [*asked, self.back, self.following, self.anew, self.printer, *self.seen]

    @property
    def answered(self) -> list[Block]:
        """What an answer changes."""
        return [self.message, self.done, self.nav, self.slider, self.choice, *self.seen]

    def _figures(self, step: Step, scene: Scene, level: float) -> Values:
        shown = measures(scene, step.shows) if step.matrix else ""
        return {self.measures: shown, self.extra: step.extra(scene, level)}

    def _show(self, step: Step, level: float) -> Values:
        """A step's own scene at a level of its slider, without any click."""
        scene = step.scene(level)
        return {self.bench: bench_value(scene), **self._figures(step, scene, level), self.clicked: None}

    def slide(self, key: str, slid: Any, chosen: Any, bits: str | None) -> Values:
        """A step whose slider leaves the matrix alone keeps what was clicked."""
        step, level = step_of(key), level_of(key, slid, chosen)
        if not step.clicks_stay:
            return self._show(step, level)
        return {**self._figures(step, scene_of(step, level, bits), level), self.clicked: bits}

    def go(self, key: str) -> Values:
        """Another step, from its start."""
        step, number = step_of(key), place_of(key)
        label, low, high, by, start = step.slider or ("", 0, 1, 1, 0)
        asked, options, first = step.choice or ("", (), 0)
        values, free = self._show(step, step.start), step.reveal is None
        return {
            **values,
            self.words: f"## {step.name}\n\n{step.words}",
            self.slider: gr.Slider(
                low, high, value=start, step=by, label=label, visible=step.slider is not None, interactive=free
            ),
            self.choice: gr.Radio(
                list(options),
                value=options[first] if options else None,
                label=asked,
                visible=bool(options),
                interactive=free,
            ),
            self.question: gr.Radio(sorted(answer for answer, _ in step.answers), value=None, label=step.question),
            self.message: feedback(step, None),
            self.back: gr.Button(interactive=number > 0),
            self.following: gr.Button(interactive=number < len(KEYS) - 1),
            self.anew: gr.Button(interactive=step.matrix),
            self.printer: gr.Button(visible=number == len(KEYS) - 1),
            self.bench: MaskBench(values[self.bench], visible=step.matrix),
        }

    def go_by(self, by: int, key: str) -> Values:
        """A step before or after this one."""
        other = KEYS[min(max(place_of(key) + by, 0), len(KEYS) - 1)]
        return {self.nav: other, **self.go(other)}

    def again(self, key: str) -> Values:
        """The same step from its start."""
        step = step_of(key)
        options, first = step.choice[1:] if step.choice else ((), 0)
        values = self._show(step, step.start)
        values[self.bench]["again"] = time.monotonic_ns()  # a page does not draw the value that it was sent last
        slider: Values = {self.slider: step.start} if step.slider else {}
        return {**values, **slider, self.choice: options[first] if options else None}

    def edit(self, key: str, slid: Any, chosen: Any, event: gr.EventData) -> Values:
        """The figures of the mask that a click made."""
        step, bits, level = step_of(key), str(told(event, "mask")), level_of(key, slid, chosen)
        try:
            return {**self._figures(step, scene_of(step, level, bits), level), self.clicked: bits}
        except EggsError as error:
            raise gr.Error(str(error)) from error

    def answer(self, key: str, given: Any, done: list[str]) -> Values:
        """Whether an answer is right; a right one ticks the step, and any shows what was to be predicted."""
        step, key = step_of(key), KEYS[place_of(key)]
        given = given if given in [answer for answer, _ in step.answers] else None
        done = [*done, key] if given == step.right and key not in done else done
        said: Values = {
            self.message: feedback(step, given),
            self.done: done,
            self.nav: gr.Radio(_names(done), value=key),
        }
        if step.reveal is None or given is None:
            return said
        shown = self._show(step, step.reveal)
        if step.slider:
            return {**said, **shown, self.slider: gr.Slider(value=step.reveal, interactive=True)}
        options = step.choice[1] if step.choice else ()
        return {**said, **shown, self.choice: gr.Radio(value=options[int(step.reveal)], interactive=True)}


def place_of(key: str | None) -> int:
    """The number of a step, from 0; the first where there is none."""
    return KEYS.index(key) if key in KEYS else 0


def step_of(key: str | None) -> Step:
    """A step by its name in addresses."""
    return STEPS[place_of(key)]


def level_of(key: str, slid: Any, chosen: Any) -> float:
    """What a step's control is set to; its start, where the page still shows another step's control."""
    step = step_of(key)
    if step.choice:
        return step.choice[1].index(chosen) if chosen in step.choice[1] else step.start
    low, high = step.slider[1:3] if step.slider else (0, 0)
    return slid if isinstance(slid, int | float) and low <= slid <= high else step.start


def scene_of(step: Step, level: float, bits: str | None) -> Scene:
    """A step's scene at a level, with the mask after clicks if there were any."""
    scene = step.scene(level)
    return scene if bits is None else scene.clicked(bits)


def create_learn_tab(tabs: gr.Tabs) -> None:
    """Fill an open gr.Tab."""
    with gr.Tabs(elem_id="learn-sections") as sections:
        with gr.Tab("Lesson", id="lesson"), gr.Column(elem_id="lesson"):
            lesson = _build()
            gr.HTML(facts_line(NOTE), padding=False, elem_id="lesson-note")
        with gr.Tab("For teachers", id=TEACHERS):
            gr.Markdown(TEACHING.read_text(encoding="utf-8"), elem_id="teaching")

    def open_lesson(request: gr.Request) -> Values:
        asked = request.query_params.get("step", "")
        key = asked if asked in KEYS else KEYS[0]
        opened: Values = {tabs: gr.Tabs(selected="learn")} if asked in (*KEYS, TEACHERS) else {}
        if asked == TEACHERS:
            opened[sections] = gr.Tabs(selected=TEACHERS)
        return {**opened, lesson.nav: key, **lesson.go(key)}

    _wire(lesson)
    opened = open_blocks().load(open_lesson, None, [tabs, sections, lesson.nav, *lesson.content], **CHEAP)
    opened.then(None, None, None, js=HAS_COME, queue=False, api_visibility="private")


def _build() -> Lesson:
    nav = gr.Radio(_names(()), value=KEYS[0], label="Step", elem_id="lesson-steps", show_label=False)
    small: dict[str, Any] = {"size": "sm", "min_width": 70}
    with gr.Row(elem_id="lesson-stage"):
        with gr.Column(elem_id="lesson-idea"):
            words = gr.Markdown(elem_id="lesson-words")
            slider = gr.Slider(0, 1, elem_id="lesson-slider")
            choice = gr.Radio([], elem_id="lesson-choice")
        with gr.Column(elem_id="lesson-figure"):
            bench = MaskBench(elem_id="lesson-bench")
            measured = gr.HTML(elem_id="lesson-measures", padding=False)
            extra = gr.HTML(elem_id="lesson-extra", padding=False)
        with gr.Column(elem_id="lesson-ask"):
            question = gr.Radio([], elem_id="lesson-question")
            message = gr.HTML(elem_id="lesson-feedback", padding=False)
            with gr.Row(elem_id="lesson-buttons"):
                back = gr.Button("← Back", elem_id="lesson-back", **small)
                following = gr.Button("Next →", variant="primary", elem_id="lesson-next", **small)
                anew = gr.Button("Start over", elem_id="lesson-anew", **small)
                slides = gr.Button("Full screen", elem_id="lesson-slides", **small)
                printer = gr.Button("Print", elem_id="lesson-print", visible=False, **small)
    idea, figure, asked = (nav, words, slider, choice), (bench, measured, extra), (question, message)
    buttons = (back, following, anew, slides, printer)
    return Lesson(*idea, *figure, *asked, *buttons, clicked=gr.State(None), done=gr.State([]))


def _wire(lesson: Lesson) -> None:
    nav, controls = lesson.nav, [lesson.nav, lesson.slider, lesson.choice]
    script_only: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    nav.input(lesson.go, nav, lesson.content, **CHEAP)
    nav.input(None, nav, None, js=ADDRESS, **script_only)
    for button, by in ((lesson.back, -1), (lesson.following, 1)):
        gone = button.click(partial(lesson.go_by, by), nav, [nav, *lesson.content], **CHEAP)
        gone.then(None, nav, None, js=ADDRESS, **script_only)
    nav.change(None, None, None, js=SHOW_STEP, **script_only)
    slid = [lesson.slider.input, lesson.choice.input]
    gr.on(slid, lesson.slide, [*controls, lesson.clicked], lesson.seen, **AS_SENT)
    lesson.anew.click(lesson.again, nav, [lesson.slider, lesson.choice, *lesson.seen], **CHEAP)
    lesson.question.input(lesson.answer, [nav, lesson.question, lesson.done], lesson.answered, **AS_SENT)
    lesson.bench.edit(lesson.edit, controls, [lesson.measures, lesson.extra, lesson.clicked], **EACH, preprocess=False)
    lesson.slides.click(None, None, None, js=script("slides"), **script_only)
    lesson.printer.click(None, None, None, js="() => window.print()", **script_only)


def _names(done: Collection[str]) -> list[tuple[str, str]]:
    return [(f"{i}. {step.name}{' ✓' if step.key in done else ''}", step.key) for i, step in enumerate(STEPS)]
