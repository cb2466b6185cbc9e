"""A small run that never was computed, whole in every part: for tests of what keeps and reads runs."""

import copy
import json
from pathlib import Path

import torch

from eggs_core.config import make_config
from eggs_core.masks.bits import pack_bits
from eggs_core.masks.selection import topn
from eggs_core.pattern import NMPattern
from eggs_core.report_types import Report
from eggs_core.runs.run import Run

SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "runs" / "tiny-llama-2of4-ria" / "report.json"
LIKE: Report = json.loads(SHIPPED.read_text(encoding="utf-8"))
SHAPES = {"a.q": (6, 12), "a.up": (5, 8), "b.q": (3, 20)}


def made_up_run(
    key: str, pattern: str = "2:4", shapes: dict[str, tuple[int, int]] = SHAPES, seed: int = 0, permuted: bool = True
) -> Run:
    """Random masks, the first layer's in a channel order of its own if `permuted`, and a shipped run's figures."""
    draw, form = torch.Generator().manual_seed(seed), NMPattern.parse(pattern)
    masks, best, orders, layers = {}, {}, {}, []
    for number, (name, shape) in enumerate(shapes.items()):
        mask = topn(torch.rand(shape, generator=draw), form)
        best[name] = pack_bits(topn(torch.rand(shape, generator=draw), form))
        if permuted and number == 0:
            orders[name] = torch.randperm(shape[1], generator=draw)
            mask = mask[:, orders[name].argsort()]
        masks[name] = pack_bits(mask)
        layers.append(LIKE["layers"][0] | {"name": name, "block": number, "shape": list(shape)})
    config = make_config("m", pattern, "ria", seed=seed).to_dict()
    heading = {"key": key, "model": "m", "pattern": pattern, "method": "ria", "seed": seed, "config": config}
    return Run(copy.deepcopy(LIKE) | heading | {"layers": layers}, masks, best, orders)
