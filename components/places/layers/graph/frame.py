"""Which channels of a layer are drawn: a window of it, or all of it in bundles; no gradio here."""

from __future__ import annotations

from dataclasses import dataclass

from components.state.workspace import Workspace
from eggs_core.graph.expansion import SIDES
from eggs_core.heavy import torch

BUNDLES = 48  # at most, on each side


@dataclass(frozen=True, slots=True)
class Frame:
    """Which channels of a layer are drawn: from `first`, `count` nodes of `each` channels, for inputs and outputs."""

    first: dict[str, int]
    count: dict[str, int]
    each: dict[str, int]
    total: dict[str, int]

    @property
    def whole(self) -> bool:
        """Whether the whole layer is drawn in bundles."""
        return self.first["inputs"] < 0

    def channels(self, side: str, nodes: list[int]) -> torch.Tensor:
        """The whole-layer numbers of the channels behind nodes; int64."""
        start = max(self.first[side], 0)
        found = [
            start + node * self.each[side] + k
            for node in nodes
            if 0 <= node < self.count[side]
            for k in range(self.each[side])
        ]
        return torch.tensor([channel for channel in found if channel < self.total[side]], dtype=torch.int64)

    def nodes(self, side: str, channels: tuple[int, ...]) -> list[int]:
        """The nodes behind channels, each once; channels outside are left out."""
        start = max(self.first[side], 0)
        found = sorted({(channel - start) // self.each[side] for channel in channels if channel >= start})
        return [node for node in found if node < self.count[side]]

    def drawn(self, side: str) -> torch.Tensor:
        """All channels that are drawn."""
        return self.channels(side, list(range(self.count[side])))

    def bundled(self, values: torch.Tensor, side: str) -> torch.Tensor:
        """Sums of one value per channel of the whole layer over each node; (nodes,)."""
        start, n, each = max(self.first[side], 0), self.count[side], self.each[side]
        part = values[start : start + n * each]
        return torch.nn.functional.pad(part, (0, n * each - len(part))).view(n, each).sum(1)


def frame_of(workspace: Workspace, mask: torch.Tensor) -> Frame:
    """The window in view, or the whole layer in bundles."""
    total = dict(zip(("outputs", "inputs"), mask.shape, strict=True))
    if workspace.graph.size:
        window, row, column = workspace.window(mask, workspace.graph.size)
        count = dict(zip(("outputs", "inputs"), window.shape, strict=True))
        return Frame({"inputs": column, "outputs": row}, count, dict.fromkeys(SIDES, 1), total)
    each = {side: -(-total[side] // BUNDLES) for side in SIDES}
    return Frame(dict.fromkeys(SIDES, -1), {s: -(-total[s] // each[s]) for s in SIDES}, each, total)


def bundle_weights(mask: torch.Tensor, frame: Frame) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges between bundles, int64 (output nodes, input nodes), and how dense they are, uint8: 1..255, 0 for none."""
    r, c = frame.each["outputs"], frame.each["inputs"]
    rows, columns = frame.count["outputs"], frame.count["inputs"]
    padded = torch.nn.functional.pad(
        mask.to(torch.uint8), (0, columns * c - mask.shape[1], 0, rows * r - mask.shape[0])
    )
    counts = padded.view(rows, r, columns, c).sum((1, 3))
    # A single crowded bundle must not leave all others so pale that a dimmed picture loses them.
    spread = 2 * counts.double().std(correction=0)
    low, high = counts.double().mean() - spread, counts.double().mean() + spread
    scaled = 1 + 254 * ((counts - low) / (high - low).clamp_min(1)).clamp(0, 1)
    return counts, torch.where(counts > 0, scaled, 0).to(torch.uint8)
