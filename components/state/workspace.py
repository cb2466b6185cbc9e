"""What one visitor looks at: a gradio-free state, and the runs that ship with the app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from components.state.known_runs import bundled_runs
from components.state.results import RESULTS, Results, on_same_weights, remember, run_id
from components.words.labels import method_in, run_label
from eggs_core.bos import NONE
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.limits import hosted
from eggs_core.masks.bits import count_differences
from eggs_core.pruning.beta_curve import BetaCurve
from eggs_core.registry import METHODS
from eggs_core.report_types import LayerEntry
from eggs_core.runs.run import Run

T = TypeVar("T")
OWN_RUNS = 16  # that a visitor compares
PRUNE = "prune"  # the job that runs what the sidebar says, and its button


@dataclass(slots=True)
class GraphView:
    """What the graph tab shows: channels a side (0: the whole layer), layout, β if it is set, and the chosen set."""

    size: int = 8
    layout: str = "bipartite"
    beta: float | None = None
    side: str = "inputs"
    members: tuple[int, ...] = ()  # channel numbers in the whole layer
    draws: int = 0


@dataclass(slots=True)
class Workspace:
    """One visitor's runs, and the run, layer and window in view.

    While a run is under way `run` holds the layers finished so far, and `finished` is False.
    """

    run: Run | None = None
    finished: bool = True
    layer: str = ""
    row: int = 0
    column: int = 0
    placed: bool = False  # was the window chosen, by hand or by an address?
    own: dict[str, Run] = field(default_factory=dict)
    graph: GraphView = field(default_factory=GraphView)
    measure: str = "spectral_gap"  # that colours the model map
    spectrum: str = "spectral_gap"  # that the Spectrum tab compares
    curves: list[BetaCurve] = field(default_factory=list)  # this visitor's own curves over β, newest last
    jobs: dict[str, object] = field(default_factory=dict)  # name of a job that may go on -> its token
    begun: set[str] = field(default_factory=set)  # names of all jobs that were ever begun
    tab: str = "overview"  # that is open
    section: str = "perplexity"  # of Quality that is open
    seen: dict[str, str] = field(default_factory=dict)  # place -> its tab that was open last
    filled: set[str] = field(default_factory=set)  # tabs that the visit was sent at once
    # Times that the page was drawn, or the plan's canvas.
    draws: dict[str, int] = field(default_factory=lambda: {"few": 0, "whole": 0, "plan": 0})
    pending: PruneConfig | None = None  # that the address asked for and nobody has run yet
    compare: str = ""  # the method beside the one in view on the Masks tab; "" is none
    difference: bool = False  # compare in one picture rather than side by side
    # The model whose layers some rules of the plan did not fit, the rules that were kept, and those that were let go.
    let_go: tuple[str, tuple[str, ...], tuple[str, ...]] = ("", (), ())
    plan_drawn: str = ""  # key of the plan's canvas that the page has
    turns: dict[str, float] = field(default_factory=dict)  # kind of event -> number of the newest one
    own_texts: Results | None = None  # what was measured on this visitor's own texts

    @property
    def shown(self) -> Run:
        """The run in view; raises EggsError if there is none."""
        if self.run is None:
            raise EggsError("There is no run in view; choose a model and press Prune.")
        return self.run

    @property
    def texts(self) -> Results:
        """What was measured on other texts: on a public server by this visitor, else by all of this machine's pages."""
        if not hosted():
            return RESULTS
        if self.own_texts is None:  # it cannot be copied, as gradio copies the first state of all
            self.own_texts = Results()
        return self.own_texts

    @property
    def shown_layer(self) -> LayerEntry:
        """The report of the chosen layer; raises EggsError if there is no run or no such layer."""
        return self.shown.layer(self.layer)

    def still(self) -> Workspace:
        """A copy that stays as it is while it is drawn, whatever the visitor does meanwhile."""
        return replace(self, graph=replace(self.graph), own=dict(self.own))

    def in_view(self) -> tuple:
        """All that a drawing shows; equal as long as the visitor has not gone on."""
        graph, shown = self.graph, (self.layer, self.row, self.column, self.measure, self.spectrum)
        window = graph.size, graph.layout, graph.beta, graph.side, graph.members
        return (id(self.run), self.finished, self.growing, *shown, *window, self.compare, self.difference)

    def drawn(self, draw: Callable[[], T]) -> T:
        """What `draw` gives; again as long as the visitor goes on meanwhile.

        Events are answered side by side, each with what is in view at the end: else the answer that takes longest, and
        comes last, would put an older view back.
        """
        while True:
            before, values = self.in_view(), draw()
            if self.in_view() == before:
                return values

    def in_turn(self, kind: str, turn: float) -> bool:
        """Is this the newest event of its kind so far? Widgets number their events, as they may arrive out of order."""
        if turn < self.turns.get(kind, 0.0):
            return False
        self.turns[kind] = turn
        return True

    def begin(self, name: str) -> object:
        """Let a job of that name go on, and any older one of that name end; returns its token."""
        self.begun.add(name)
        self.jobs[name] = object()
        return self.jobs[name]

    def goes_on(self, name: str, token: object) -> bool:
        """May the job with this token go on? Jobs ask after every step; nothing else ends them."""
        return token is not None and self.jobs.get(name) is token

    def end(self, name: str) -> object | None:
        """Let the job of that name end after the step at hand; returns its token."""
        return self.jobs.pop(name, None)

    @property
    def growing(self) -> bool:
        """Do layers of the run in view still arrive? Of one that was stopped, or that failed, none do."""
        return not self.finished and PRUNE in self.jobs

    def show(self, run: Run, finished: bool = True) -> None:
        """Put a run in view, keeping the chosen layer where the run has it."""
        self.run, self.finished = run, finished
        if finished:
            self.own.pop(run.key, None)
            self.own[run.key] = run
            while len(self.own) > OWN_RUNS:
                del self.own[next(iter(self.own))]
        layers = run.report["layers"]
        if self.layer not in [layer["name"] for layer in layers]:
            # Else the widest layer of the first block has the most to see.
            first = [layer for layer in layers if layer["block"] == 0]
            apart = farthest_from_topn(run) if finished else None
            self.open_layer(apart or (max(first, key=lambda layer: layer["shape"][1])["name"] if first else ""))

    def own_curve(self, curve: BetaCurve) -> None:
        """Keep a curve of this visitor's own, in place of an older state of the same one."""
        others = [other for other in self.curves if other.config != curve.config]
        self.curves = [*others, curve][-OWN_RUNS:]

    def open_layer(self, name: str) -> None:
        """Choose a layer and go back to its top left corner, until a window of it is chosen."""
        self.layer, self.row, self.column, self.placed = name, 0, 0, False
        self.graph.beta, self.graph.members = None, ()

    def place(self, row: int, column: int) -> None:
        """Choose the window with that top left corner."""
        self.row, self.column, self.placed = max(0, row), max(0, column), True

    def layer_report(self) -> LayerEntry | None:
        """The report of the chosen layer, if there is one."""
        return self.run.layer(self.layer) if self.run and self.layer else None

    def window(self, mask: torch.Tensor, size: int) -> tuple[torch.Tensor, int, int]:
        """A window of at most size × size of a mask, and the row and column at which it really starts."""
        rows, columns = mask.shape
        row = max(0, min(self.row, rows - size))
        column = max(0, min(self.column, columns - size))
        return mask[row : row + size, column : column + size], row, column

    def comparable(self, shipped: Sequence[Run] | None = None) -> list[Run]:
        """Finished runs on the weights, pattern and evaluation of the one in view, one for each label, newest last.

        They are this visitor's own and the `shipped` ones: by default all that ship with the app.
        """
        if self.run is None:
            return []
        found: dict[str, Run] = {}
        for run in [*(bundled_runs() if shipped is None else shipped), *self.own.values()]:
            if _same_subject(run, self.run):
                found[run_label(run)] = run
        if self.finished:
            found[run_label(self.run)] = self.run
        order = {method.label: i for i, method in enumerate(METHODS.values())}
        return [found[label] for label in sorted(found, key=lambda label: (order.get(method_in(label), 99), label))]


def _same_subject(a: Run, b: Run) -> bool:
    protocol = {"sha256": None, "window": None, "windows": None, "bos": NONE}  # early runs do not say where BOS is
    evaluations = [[r.report["evaluation"].get(*item) for item in protocol.items()] for r in (a, b)]
    same = all(a.report[name] == b.report[name] for name in ("model", "pattern"))
    measured = evaluations[0] == evaluations[1] and on_same_weights(a.report, b.report)
    return same and (measured or not b.report["evaluation"])


def finished_run(workspace: Workspace | None) -> Run:
    """The finished run in view; raises EggsError if there is none."""
    if not workspace or not workspace.run or not workspace.finished:
        raise EggsError("Finish a run first.")
    return workspace.run


def farthest_from_topn(run: Run) -> str | None:
    """The layer of a finished run whose mask differs most from top-N's, as a share of its weights; None if none does.

    A mask that is missing counts as none that differs.
    """
    masks, best = run.packed_masks, run.packed_topn

    def apart(layer: LayerEntry) -> float:
        name, (rows, columns) = layer["name"], layer["shape"]
        known = name in masks and name in best
        return count_differences(masks[name], best[name]) / (rows * columns) if known else 0.0

    def find() -> str | None:
        shares = {layer["name"]: apart(layer) for layer in run.report["layers"]}
        name = max(shares, key=shares.__getitem__, default=None)
        return name if name and shares[name] else None

    return remember(("farthest", *run_id(run)), find)


def recorded_topn(run: Run, layer: str) -> torch.Tensor | None:
    """What plain top-N keeps of a layer by the same scores, bool (out, in); None where the run does not hold it."""
    return run.topn_mask(layer) if layer in run.packed_topn else None
