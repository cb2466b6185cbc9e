"""Learn: a short lesson on one matrix small enough to prune by hand; `?step=degree-bound` opens it at that step."""

import time
from pathlib import Path

import gradio as gr

from components.jobs.events import CHEAP, EACH
from components.places.learn.lesson.scene import Scene, Step, bench_value, feedback, measures
from components.places.learn.lesson.steps import KEYS, STEPS
from components.state.asked import told
from components.widgets.assets import script
from components.widgets.bench import MaskBench
from eggs_core.errors import EggsError

SHOW_STEP = """() => setTimeout(() => {
  const bar = document.querySelector('#lesson-steps'), label = bar?.querySelector('input:checked')?.closest('label');
  if (!label) return;
  label.parentElement.scrollTo({ left: label.offsetLeft - label.parentElement.clientWidth / 2 });
  if (bar.getBoundingClientRect().top < 0) bar.scrollIntoView();
}, 50)"""
ADDRESS = "n => { const u = new URL(location); u.searchParams.set('step', n); history.replaceState(null, '', u); }"
TEACHERS = "teachers"  # ?step=teachers opens the teachers' page
TEACHING = Path(__file__).resolve().parents[4] / "docs" / "teaching.md"
NOTE = (
    "Figures are computed by the same code that prunes real models. The matrix was picked so that every step shows "
    "something: it illustrates the ideas and is no evidence for a method; the other tabs are."
)


def create_learn_tab(tabs: gr.Tabs) -> None:
    """Fill an open gr.Tab."""
    with gr.Tabs(elem_id="learn-sections") as sections:
        with gr.Tab("Lesson", id="lesson"), gr.Column(elem_id="lesson"):
            nav = gr.Radio(_names(()), value=KEYS[0], label="Step", elem_id="lesson-steps", show_label=False)
            with gr.Row(elem_id="lesson-stage"):
                with gr.Column(elem_id="lesson-idea"):
                    words = gr.Markdown(elem_id="lesson-words")
                    slider = gr.Slider(0, 1, elem_id="lesson-slider")
                    choice = gr.Radio([], type="index", elem_id="lesson-choice")
                with gr.Column(elem_id="lesson-figure"):
                    bench = MaskBench(elem_id="lesson-bench")
                    figures = gr.HTML(elem_id="lesson-measures", padding=False)
                    extra = gr.HTML(elem_id="lesson-extra", padding=False)
                with gr.Column(elem_id="lesson-ask"):
                    question = gr.Radio([], elem_id="lesson-question")
                    said = gr.HTML(elem_id="lesson-feedback", padding=False)
                    with gr.Row(elem_id="lesson-buttons"):
                        back = gr.Button("← Back", size="sm", min_width=70, elem_id="lesson-back")
                        following = gr.Button(
                            "Next →", size="sm", min_width=70, variant="primary", elem_id="lesson-next"
                        )
                        anew = gr.Button("Start over", size="sm", min_width=70, elem_id="lesson-anew")
                        slides = gr.Button("Full screen", size="sm", min_width=70, elem_id="lesson-slides")
            gr.HTML(f'<p class="facts">{NOTE}</p>', padding=False, elem_id="lesson-note")
        with gr.Tab("For teachers", id=TEACHERS):
            gr.Markdown(TEACHING.read_text(encoding="utf-8"), elem_id="teaching")

    def scene_of(key: str, level: float, bits: str | None = None) -> tuple[Step, Scene]:
        step = STEPS[_place(key)]
        scene = step.scene(level)
        return step, scene if bits is None else scene.clicked(bits)

    def level_of(key: str, slid: float, chosen: int | None) -> float:
        return chosen or 0 if STEPS[_place(key)].choice else slid

    def said_of(step: Step, scene: Scene, level: float) -> list:
        return [measures(scene, step.shows) if step.matrix else "", step.extra(scene, level)]

    def show(key: str, level: float) -> list:
        step, scene = scene_of(key, level)
        return [bench_value(scene), *said_of(step, scene, level), None]

    def slide(key: str, slid: float, chosen: int | None, bits: str | None) -> list:
        """A step whose slider leaves the matrix alone keeps what was clicked."""
        level = level_of(key, slid, chosen)
        step, scene = scene_of(key, level, bits)
        return [gr.skip(), *said_of(step, scene, level), bits] if step.clicks_stay else show(key, level)

    def go(key: str) -> list:
        number = _place(key)
        step = STEPS[number]
        label, low, high, by, start = step.slider or ("", 0, 1, 1, 0)
        asked, options, first = step.choice or ("", (), 0)
        value, *rest = show(key, step.start)
        return [
            f"## {step.name}\n\n{step.words}",
            gr.Slider(low, high, value=start, step=by, label=label, visible=step.slider is not None),
            gr.Radio(list(options), value=options[first] if options else None, label=asked, visible=bool(options)),
            gr.Radio(sorted(answer for answer, _ in step.answers), value=None, label=step.question),
            feedback(step, None),
            gr.Button(interactive=number > 0),
            gr.Button(interactive=number < len(KEYS) - 1),
            gr.Button(interactive=step.matrix),
            MaskBench(value, visible=step.matrix),
            *rest,
        ]

    def move(by: int):
        def moved(key: str) -> list:
            number = min(max(_place(key) + by, 0), len(KEYS) - 1)
            return [KEYS[number], *go(KEYS[number])]

        return moved

    def again(key: str) -> list:
        step = STEPS[_place(key)]
        options, first = step.choice[1:] if step.choice else ((), 0)
        value, *rest = show(key, step.start)
        value["again"] = time.monotonic_ns()  # a page does not draw the value that it was sent last
        return [step.start if step.slider else gr.skip(), options[first] if options else None, value, *rest]

    def edit(key: str, slid: float, chosen: int | None, event: gr.EventData) -> list:
        bits, level = str(told(event, "mask")), level_of(key, slid, chosen)
        try:
            return [*said_of(*scene_of(key, level, bits), level), bits]
        except EggsError as error:
            raise gr.Error(str(error)) from error

    def answered(key: str, answer: str | None, done: list[str]) -> list:
        step = STEPS[_place(key)]
        done = [*done, key] if answer == step.right and key not in done else done
        return [feedback(step, answer), done, gr.Radio(_names(done), value=key)]

    def open_lesson(request: gr.Request) -> list:
        asked = request.query_params.get("step", "")
        key = asked if asked in KEYS else KEYS[0]
        tab = gr.Tabs(selected="learn") if asked in (*KEYS, TEACHERS) else gr.skip()
        return [tab, gr.Tabs(selected=TEACHERS) if asked == TEACHERS else gr.skip(), key, *go(key)]

    clicked, done = gr.State(None), gr.State([])  # the mask after clicks, as 64 characters; steps answered rightly
    seen = [bench, figures, extra, clicked]
    content = [words, slider, choice, question, said, back, following, anew, *seen]
    address = {"fn": None, "inputs": nav, "outputs": None, "js": ADDRESS, "queue": False, "api_visibility": "private"}
    nav.input(go, nav, content, **CHEAP)
    nav.input(**address)
    for button, by in ((back, -1), (following, 1)):
        button.click(move(by), nav, [nav, *content], **CHEAP).then(**address)
    nav.change(None, None, None, js=SHOW_STEP, queue=False, api_visibility="private")
    gr.on([slider.input, choice.input], slide, [nav, slider, choice, clicked], seen, **CHEAP)
    anew.click(again, nav, [slider, choice, *seen], **CHEAP)
    question.input(answered, [nav, question, done], [said, done, nav], **CHEAP)
    bench.edit(edit, [nav, slider, choice], [figures, extra, clicked], **EACH)
    slides.click(None, None, None, js=script("slides"), queue=False, api_visibility="private")
    gr.context.Context.root_block.load(open_lesson, None, [tabs, sections, nav, *content], **CHEAP)


def _place(key: str | None) -> int:
    """The number of a step, from 0; the first where there is none."""
    return KEYS.index(key) if key in KEYS else 0


def _names(done) -> list[tuple[str, str]]:
    return [(f"{i}. {step.name}{' ✓' if step.key in done else ''}", step.key) for i, step in enumerate(STEPS, 1)]
