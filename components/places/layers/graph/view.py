"""What the graph tab shows, as plain values; no gradio here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.jobs.processes import PROCESSES
from components.places.layers.graph.frame import Frame, bundle_weights
from components.state.results import remember, run_id
from components.state.workspace import Workspace, farthest_from_topn, recorded_topn
from components.widgets.encoding import base64_bits, base64_values
from components.words.labels import run_label
from eggs_core.cache import Bounded
from eggs_core.graph.drawing import layout, window_graph
from eggs_core.graph.expansion import (
    SIDES,
    CurvePoint,
    Expansion,
    SpreadStep,
    expansion,
    expansion_curve,
    lowest_degree_set,
    random_set,
    spread,
    worst_set,
)
from eggs_core.graph.measures import certificate_sigma2
from eggs_core.graph.spectrum import second_singular_value
from eggs_core.heavy import networkx, torch
from eggs_core.pruning.one_layer import BetaStep, beta_step, source_of_scores
from eggs_core.runs.patterns import layer_pattern
from eggs_core.runs.rotated import check_own_basis

SIZES = (8, 16, 32, 64, 128, 256, 512)
STEPS = 8
TOPN = "top-N"
_PLACES: Bounded[str, dict] = Bounded(64)
_SPREADS: Bounded[tuple, list[SpreadStep]] = Bounded(32)


@dataclass(frozen=True, slots=True)
class Graph:
    """One of the two graphs on show: its name, mask bool (out, in), σ₂, and a key that changes when it does."""

    label: str
    mask: torch.Tensor
    sigma2: float
    key: str


Pair = tuple[Graph | None, Graph]  # top-N's, where the run holds it, and the method's


def graphs(workspace: Workspace) -> Pair:
    """Top-N, and beside it the mask as pruned or, if β is set, the exact selection at that β by the same scores.

    Top-N is None where the run does not hold it.
    """
    run, name = workspace.shown, workspace.layer
    of = " ".join(run_id(run))
    if workspace.graph.beta is not None:
        pair = [step_of(workspace, 0.0), step_of(workspace, workspace.graph.beta)]
        labels = [TOPN, f"degree bound, β = {pair[1].beta:.0%}"]
        first, second = (
            Graph(label, step.mask, step.sigma2, f"{of} {name} beta {step.beta}")
            for label, step in zip(labels, pair, strict=True)
        )
        return first, second
    topn = recorded_topn(run, name)
    own = Graph(run_label(run), run.mask(name), run.layer(name)["sigma2"], f"{of} {name} mask")
    if topn is None:
        return None, own
    sigma2 = remember((of, name, "topn σ₂"), lambda: second_singular_value(topn).item())
    return Graph(TOPN, topn, sigma2, f"{of} {name} topn"), own


def certified(graph: Graph) -> float:
    """The σ₂ that the graph's certificates rest on."""
    return remember((graph.key, "certificate"), lambda: certificate_sigma2(graph.mask, graph.sigma2))


def step_of(workspace: Workspace, beta: float) -> BetaStep:
    """The exact degree-bounded selection of the chosen layer at a β; raises EggsError if its model is not at hand."""
    check_own_basis(workspace.shown)
    report = workspace.shown.report
    return PROCESSES.ask(
        beta_step,
        report["model"],
        workspace.layer,
        report["config"]["score"],
        layer_pattern(workspace.shown_layer, workspace.shown.report),
        beta,
        report.get("fingerprint"),
    )


def beta_steps(workspace: Workspace, beta: float) -> tuple[BetaStep, BetaStep, str]:
    """The selections at a β and at β = 0, and where their scores come from; raises EggsError as `step_of` does."""
    check_own_basis(workspace.shown)
    report = workspace.shown.report
    asked = report["model"], workspace.layer, report["config"]["score"], report.get("fingerprint")
    source = PROCESSES.ask(source_of_scores, *asked)
    return step_of(workspace, beta), step_of(workspace, 0.0), source


def widest_gap(pair: Pair, size: int) -> tuple[int, int]:
    """Row and column of the window, of those that lie side by side, in which the two masks differ most."""
    topn, own = pair
    if topn is None:
        return 0, 0
    apart = (topn.mask ^ own.mask).to(torch.int32)
    rows, columns = (-(-n // size) for n in apart.shape)
    whole = torch.nn.functional.pad(apart, (0, columns * size - apart.shape[1], 0, rows * size - apart.shape[0]))
    best = int(whole.view(rows, size, columns, size).sum((1, 3)).argmax())
    return best // columns * size, best % columns * size


def settle(workspace: Workspace) -> None:
    """Open the window in which the mask as pruned and top-N's differ most, unless another one was chosen."""
    size = workspace.graph.size
    if workspace.placed or not size or workspace.graph.beta is not None:
        return
    key = ("widest gap", *run_id(workspace.shown), workspace.layer, size)
    workspace.row, workspace.column = remember(key, lambda: widest_gap(graphs(workspace), size))


def elsewhere(workspace: Workspace, pair: Pair, frame: Frame) -> str | None:
    """The layer to look at instead where both masks are the same in view; None where they differ or nowhere do."""
    topn, own = pair
    same = topn is not None and not differences_in_view(topn, own, frame)
    return farthest_from_topn(workspace.shown) if same and workspace.finished else None


def differences_in_view(one: Graph, other: Graph, frame: Frame) -> int:
    """How many weights among the channels that are drawn one graph keeps and the other does not."""
    return int((_in_view(one, frame) ^ _in_view(other, frame)).sum())


def share_of_weakest(mask: torch.Tensor) -> float:
    """What β a mask reaches: the weights of its worst-connected input over the mean of all; bool (out, in)."""
    degrees = mask.sum(0)
    return degrees.min().item() / max(degrees.double().mean().item(), 1e-9)


def edges_in_view(graph: Graph, frame: Frame) -> int:
    """How many weights the graph keeps among the channels that are drawn."""
    return int(_in_view(graph, frame).sum())


def _in_view(graph: Graph, frame: Frame) -> torch.Tensor:
    first = {side: max(frame.first[side], 0) for side in SIDES}
    last = {side: first[side] + frame.count[side] * frame.each[side] for side in SIDES}
    return graph.mask[first["outputs"] : last["outputs"], first["inputs"] : last["inputs"]]


def curve_points(graph: Graph, side: str) -> list[CurvePoint]:
    """How far sets of each size reach on one side of a graph, sampled and certified."""
    return remember(("curve", graph.key, side), lambda: expansion_curve(graph.mask, side, certified(graph)))


def graph_value(workspace: Workspace, graph: Graph, other: Graph | None, frame: Frame, play: bool = False) -> dict:
    """What one graph canvas draws; edges that `other` lacks are marked, none where there is no other."""
    view = workspace.graph
    degrees = {"inputs": graph.mask.sum(0), "outputs": graph.mask.sum(1)}
    value: dict[str, Any] = {
        "key": f"{graph.key} {frame.first} {view.size} {view.layout}",
        "place": f"{workspace.layer} {frame.first} {view.size} {view.layout}",
        "label": graph.label,
        "square": view.layout != "bipartite",
        "bundle": frame.each if frame.whole else None,
        "side": view.side,
        "chosen": frame.nodes(view.side, view.members),
        "spread": None,
    }
    if frame.whole:
        counts, weights = bundle_weights(graph.mask, frame)
        value["weights"] = base64_values(weights)
        net = window_graph(counts > 0)
        networkx.set_edge_attributes(
            net, {(("in", c), ("out", r)): counts[r, c].item() for r, c in counts.nonzero().tolist()}, "weight"
        )
    else:
        rows = slice(frame.first["outputs"], frame.first["outputs"] + frame.count["outputs"])
        columns = slice(frame.first["inputs"], frame.first["inputs"] + frame.count["inputs"])
        part = graph.mask[rows, columns]
        value |= {"bits": base64_bits(part), "other": base64_bits((other or graph).mask[rows, columns])}
        net = window_graph(part)
    places = _PLACES.get_or_make(value["key"], lambda: _places(net, view.layout))
    for side, kind in zip(SIDES, ("in", "out"), strict=True):
        count, first = frame.count[side], max(frame.first[side], 0)
        value[side] = {
            "id": [first + i * frame.each[side] for i in range(count)],
            "x": [places[kind, i][0] for i in range(count)],
            "y": [places[kind, i][1] for i in range(count)],
            "degree": frame.bundled(degrees[side], side).tolist(),
        }
    if play and view.members:
        steps = spread_of(workspace, graph, view.members)
        value["spread"] = {"play": True, "steps": [_step_value(step, degrees, frame) for step in steps]}
    return value


def _places(net: networkx.Graph, kind: str) -> dict:
    return {node: (round(x, 4), round(y, 4)) for node, (x, y) in layout(net, kind).items()}


def signal_sources(workspace: Workspace, graph: Graph) -> tuple[int, ...]:
    """Where a signal starts: the chosen set, or as long as there is none, the channel with the fewest edges."""
    view = workspace.graph
    if view.members:
        return view.members
    everybody = torch.arange(graph.mask.shape[1 if view.side == "inputs" else 0])
    return tuple(lowest_degree_set(graph.mask, view.side, everybody, 1).tolist())


def spread_of(workspace: Workspace, graph: Graph, sources: tuple[int, ...]) -> list[SpreadStep]:
    """A unit of signal put on `sources`, over the whole layer."""
    side = workspace.graph.side
    key = (graph.key, side, sources)
    return _SPREADS.get_or_make(key, lambda: spread(graph.mask, side, torch.tensor(sources), STEPS))


def _step_value(step: SpreadStep, degrees: dict[str, torch.Tensor], frame: Frame) -> dict:
    even = degrees[step.side].double()
    level = frame.bundled(step.amounts, step.side) / frame.bundled(even / even.sum().clamp_min(1), step.side)
    level = torch.nan_to_num(level, 0, 0, 0)  # an orphan's share of an even spread is none
    return {"side": step.side, "level": [round(x, 4) for x in level.tolist()], "uneven": round(step.uneven, 5)}


def pick_set(workspace: Workspace, graph: Graph, frame: Frame, how: str, side: str, size: int) -> tuple[int, ...]:
    """A set among the channels drawn: "lowest" degree, "random", or the "worst" found."""
    among = frame.drawn(side)
    if how == "lowest":
        found = lowest_degree_set(graph.mask, side, among, size)
    elif how == "worst":
        found = worst_set(graph.mask, side, among, size)
    else:
        workspace.graph.draws += 1
        found = random_set(among, size, workspace.graph.draws)
    return tuple(found.tolist())


def chosen_expansion(workspace: Workspace, graph: Graph) -> Expansion:
    """The chosen set in the whole layer's graph."""
    view = workspace.graph
    return expansion(graph.mask, view.side, torch.tensor(view.members, dtype=torch.int64), certified(graph))
