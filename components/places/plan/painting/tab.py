"""Plan: a pattern for each layer, painted on the model or the best within a budget; Prune runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, EACH, FINISHED, Updates, Values, finish, run_by_buttons
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.places.plan.painting.measuring import losses_of, losses_work, rates_work, shipped_losses
from components.places.plan.painting.view import Planned, canvas_value, choices_value, fill, painted, predicted_loss
from components.places.plan.painting.words import (
    INTRODUCTION,
    dropped,
    in_use,
    outcome_reading,
    sources_note,
    weakest_reading,
)
from components.state.asked import number, told
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once, finished
from components.widgets.canvas import PlanCanvas, PlanChoices
from components.widgets.context import open_tab
from components.widgets.heading import panel_heading
from components.words.html import escape, hint, reading
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.rules import SEPARATOR
from eggs_core.text.sources import Text

TAB = "plan"  # as addresses call it
MOST, FIRST = 100, 53  # per cent of the bytes; the least is what the model's layers can reach
NO_RUN = "What a plan came to stands here once a run is finished."


@dataclass(frozen=True, slots=True)
class InUse:
    """The plan beside Prune: its rules, which the sidebar reads, what is said of them, and a button that drops them."""

    rules: gr.Textbox
    note: gr.HTML
    drop: gr.Button


@dataclass(frozen=True, slots=True)
class PlanPanel:
    """The components of this tab that are filled, and what happens to them."""

    in_use: InUse
    canvas: PlanCanvas
    choices: PlanChoices
    budget: gr.Slider
    progress: gr.HTML
    sources: gr.HTML
    weakest: gr.HTML
    outcome: gr.HTML
    again: gr.Textbox  # whoever changes it has the canvas drawn
    read: Callable[..., tuple[PruneConfig, dict[str, Text]]]  # what the sidebar's controls describe

    @property
    def outputs(self) -> list[Block]:
        """What follows the sidebar's choices."""
        beside = [self.in_use.rules, self.in_use.note, self.in_use.drop]
        return [self.canvas, self.choices, self.budget, self.sources, self.weakest, *beside]

    @property
    def tab(self) -> Tab:
        """What follows the run in view."""
        return Tab([self.outcome], self.render)

    def render(self, workspace: Workspace) -> Values:
        """What became of the plan of the run in view."""
        run = finished(workspace)
        if run is None:
            return {self.outcome: reading(NO_RUN)}
        predicted = predicted_loss(run)
        return drawn_once(
            [self.outcome], [run], ("plan", predicted), lambda: {self.outcome: outcome_reading(run, predicted)}
        )

    def open(self, workspace: Workspace, budget: float, *values: Any) -> list[Any]:
        """State, budget and the sidebar's values in; canvas and what stands beside Prune out, gone through `finish`."""
        try:
            return finish(self.outputs, self._draw(workspace, number(budget, "The budget"), self.read(*values)[0]))
        except EggsError as error:
            workspace.plan_drawn = ""
            said = hint(escape(error), bad=True)
            return finish(self.outputs, {self.canvas: None, self.sources: said, self.weakest: ""})

    def follow(self, workspace: Workspace, budget: float, *values: Any) -> list[Any]:
        """The same for a change in the sidebar; while the tab is closed, what stands beside Prune alone."""
        if workspace.tab == TAB:
            return self.open(workspace, budget, *values)
        try:
            config, _ = self.read(*values)
            beside = self._beside_prune(workspace, config, Planned.of(config) if config.layers else None)
        except EggsError:  # of which Prune tells
            beside = {}
        return finish(self.outputs, beside)

    def _draw(self, workspace: Workspace, budget: float, config: PruneConfig) -> Values:
        plan = Planned.of(config)
        values = self._beside_prune(workspace, config, plan)
        if plan.unused:
            config = config.changed(layers=[rule for rule in config.layers if rule not in plan.unused])
            plan = Planned.of(config)
        values[self.choices] = choices_value(plan)
        values[self.budget] = gr.Slider(minimum=plan.least_budget, value=max(budget, plan.least_budget))
        if workspace.plan_drawn != plan.key():
            workspace.plan_drawn = plan.key()
            values[self.canvas] = canvas_value(plan)
        method, shipped = config.changed(layers=()).in_words(), shipped_losses().values()
        ships = any(plan.losses is one for one in shipped)
        values[self.sources] = sources_note(config.model, method, plan.losses, ships)
        values[self.weakest] = weakest_reading(plan.losses, plan.layers) if plan.losses else ""
        return values

    def _beside_prune(self, workspace: Workspace, config: PruneConfig, plan: Planned | None) -> Values:
        """What stands beside Prune; rules that fit no layer of the model are let go, and that is said."""
        unused = plan.unused if plan else ()
        kept = tuple(rule for rule in config.layers if rule not in unused)
        if unused or workspace.let_go[:2] != (config.model, kept):
            workspace.let_go = config.model, kept, unused
        said = in_use(plan.differing if plan else 0, len(kept), str(config.pattern))
        said += dropped(workspace.let_go[2], config.model)
        values: Values = {self.in_use.note: said, self.in_use.drop: gr.Button(visible=bool(kept))}
        return values | ({self.in_use.rules: SEPARATOR.join(kept)} if unused else {})

    def paint(self, workspace: Workspace, event: gr.EventData, *values: Any) -> str:
        """The rules of what was painted, for the sidebar."""
        config, _ = self.read(*values)
        newest = workspace.in_turn("paint", number(told(event, "turn"), "A turn"))
        if not newest or told(event, "model") != config.model:  # another was chosen meanwhile
            return gr.skip()
        rules = painted(Planned.of(config), told(event, "patterns"), told(event, "choices"))
        return SEPARATOR.join(rules)

    def measure(self, follow: Follow, workspace: Workspace, _budget: float, *values: Any) -> Updates:
        """State, the budget and the sidebar's values in; progress out, and in the end what has the canvas drawn."""
        config, texts = self.read(*values)
        yield from self._measure(follow, config, texts)
        yield {self.progress: message("Measured."), **self._redraw(workspace)}

    def _measure(self, follow: Follow, config: PruneConfig, texts: dict[str, Text]) -> Updates:
        for event in follow(losses_work(config, texts, Planned.of(config).patterns)):
            yield {self.progress: bar(event)}

    def time_layers(self, follow: Follow, workspace: Workspace, _budget: float, *values: Any) -> Updates:
        """The same with the times of this machine."""
        config, _ = self.read(*values)
        plan = Planned.of(config)
        for event in follow(rates_work(config.model, plan.layers, plan.patterns)):
            yield {self.progress: bar(event)}
        yield {self.progress: message("Timed on this machine."), **self._redraw(workspace)}

    def fill(self, follow: Follow, workspace: Workspace, budget: float, *values: Any) -> Updates:
        """The same with the rules of the best plan within the budget, in per cent of the dense bytes."""
        config, texts = self.read(*values)
        if losses_of(config) is None:
            yield from self._measure(follow, config, texts)
        yield self._filled(config, budget) | self._redraw(workspace)

    def refill(self, _follow: Follow, _workspace: Workspace, budget: float, *values: Any) -> Updates:
        """The same as the slider is let go, where the losses are known."""
        config, _ = self.read(*values)
        if losses_of(config) is not None:
            yield self._filled(config, budget)

    def _filled(self, config: PruneConfig, budget: float) -> Values:
        share = number(budget, "The budget") / 100
        rules = fill(Planned.of(config), share)
        said = message(f"The best plan within {share:.0%} of the layers’ dense bytes.")
        return {self.in_use.rules: SEPARATOR.join(rules), self.progress: said}

    def _redraw(self, workspace: Workspace) -> Values:
        """Has the canvas drawn for what the sidebar holds by then, as what was measured may have taken minutes."""
        workspace.draws["plan"] += 1
        return {self.again: str(workspace.draws["plan"])}


def create_plan_tab(
    state: gr.State,
    inputs: Sequence[Any],  # components, of which gradio does not declare that they change
    in_use: InUse,
    read: Callable[..., tuple[PruneConfig, dict[str, Text]]],
) -> PlanPanel:
    """Fill an open gr.Tab; the plan is that of what `read` makes of the values of `inputs`, which hold its rules."""
    gr.HTML(hint(INTRODUCTION), padding=False)
    canvas = PlanCanvas(elem_id="plan-canvas")
    choices = PlanChoices(elem_id="plan-choices")
    weakest = gr.HTML(elem_id="plan-weakest", padding=False)
    sources = gr.HTML(elem_id="plan-sources", padding=False)
    panel_heading("The best plan for a budget")
    budget = gr.Slider(1, MOST, FIRST, step=1, label="Budget, % of the layers’ dense bytes", elem_id="plan-budget")
    with gr.Row():
        start = gr.Button("Fill by budget", variant="primary", elem_id="plan-start", min_width=140, scale=2)
        measure = gr.Button("Measure what each layer loses", elem_id="plan-measure", min_width=270, scale=3)
        timing = gr.Button("Time the layers here", elem_id="plan-time", min_width=200, scale=2)
        stop = gr.Button("Stop", elem_id="plan-stop", min_width=80, interactive=False)
    progress = gr.HTML("", elem_id="plan-progress", padding=False)
    panel_heading("What became of it")
    outcome = gr.HTML(elem_id="plan-outcome", padding=False)
    again = gr.Textbox("0", visible="hidden", elem_id="plan-again", show_label=False)
    panel = PlanPanel(in_use, canvas, choices, budget, progress, sources, weakest, outcome, again, read)
    asked = [state, budget, *inputs]
    gr.on([open_tab().select, again.change], panel.open, asked, panel.outputs, **FINISHED)
    gr.on([control.change for control in inputs], panel.follow, asked, panel.outputs, **FINISHED)
    canvas.paint(panel.paint, [state, *inputs], in_use.rules, **EACH)
    in_use.drop.click(lambda: "", None, in_use.rules, **CHEAP)
    starts = {measure.click: panel.measure, timing.click: panel.time_layers, budget.release: panel.refill}
    run_by_buttons(start, stop, panel.fill, asked, [progress, in_use.rules, again], starts=starts)
    return panel
