"""How long the graph measures take, and how fluid the canvases are in a browser.

    python benchmarks/graph.py [--quick] [--json FILE] [--no-browser]

--quick measures one block of SmolLM2's shapes and scales its σ₂ to all 30; the null, cached by shape, is always whole.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402
from eggs_core.graph.measures import measure  # noqa: E402
from eggs_core.graph.spectrum import null_gap, second_singular_value  # noqa: E402
from eggs_core.masks.selection import topn  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402

SMOLLM2_BLOCK = [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
SMOLLM2_BLOCKS, PATTERN = 30, NMPattern(2, 4)


def random_mask(shape: tuple[int, int], seed: int) -> torch.Tensor:
    """A random 2:4 mask."""
    return topn(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), PATTERN)


def seconds(work) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def whole_model_seconds(blocks: int) -> tuple[float, float]:
    """Seconds of all measures of SmolLM2's 210 layers with a 20-sample null: at first, and with the null cached."""
    null_gap.cache_clear()
    null = seconds(lambda: [null_gap(shape, PATTERN, 20) for shape in set(SMOLLM2_BLOCK)])
    masks = [random_mask(shape, seed) for seed in range(blocks) for shape in SMOLLM2_BLOCK]
    measured = seconds(lambda: [measure(mask, PATTERN) for mask in masks]) * SMOLLM2_BLOCKS / blocks
    return null + measured, measured


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--no-browser", action="store_true", help="leave the canvases out")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    big = random_mask((4096, 11008), 0)
    sigma = seconds(lambda: second_singular_value(big))
    whole, cached = whole_model_seconds(1 if args.quick else SMOLLM2_BLOCKS)
    figures = [
        ("sigma2_4096x11008_s", sigma, 3.0),
        ("smollm2_210_layers_null20_s", whole, 90.0),
        ("smollm2_210_layers_cached_null_s", cached, 60.0),
    ]
    if not args.no_browser:
        from benchmarks.canvas import canvas_figures

        figures += canvas_figures(big)
    return conclude([check(*figure) for figure in figures], args.json, quick=args.quick)


if __name__ == "__main__":
    raise SystemExit(main())
