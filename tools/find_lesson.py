"""Find the lesson's matrix: the seed of eggs_core/pruning/toy_layer.py, and the best mask of its challenge.

python tools/find_lesson.py --first 0 --last 40000    # prints each seed on which all that the lesson says is true
python tools/find_lesson.py --best                    # anneals masks of the matrix that is in use
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import torch

from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import (
    DEGREE,
    SIZE,
    Judgement,
    ToyLayer,
    crowded_layer,
    judge,
    refit,
    reorder,
    suggest,
    toy_layer,
)

HALF = NMPattern(2, 4)
RESTARTS, STEPS, WARM, COLD, COOLING = 60, 5000, 6.0, 0.05, 0.998


def fits(seed: int) -> bool:
    """Is what the lesson says true of this seed's matrix? Cheap questions come first."""
    layer = toy_layer(seed)
    if judge(layer, suggest(layer, HALF, "ria"), HALF).orphans != [3] or suggest(layer, HALF, "magnitude")[:6, 3].any():
        return False
    kept = {
        name: [int(suggest(layer.heavier(4, factor), HALF, name)[:, 4].sum()) for factor in (0.25, 4)]
        for name in ("magnitude", "ria")
    }
    if kept["ria"][1] - kept["ria"][0] > 2 or kept["magnitude"][1] - kept["magnitude"][0] < 4:
        return False
    return promises_hold(layer) and order_and_values_help(seed)


def promises_hold(layer: ToyLayer) -> bool:
    """Are promises cheap when exact and dearer by diagonals, and do equal degrees mix worse than nearly equal ones?"""

    def judged(**options: float) -> Judgement:
        return judge(layer, suggest(layer, HALF, "ria", "degree" if "beta" in options else "diagonal", **options), HALF)

    exact = [judged(beta=bound / DEGREE) for bound in range(DEGREE + 1)]
    framed = [judged(diagonals=bound) for bound in range(DEGREE + 1)]
    gaps = [found.gap for found in exact]
    return (
        gaps[1] < gaps[2] <= gaps[3]
        and gaps[4] < gaps[3] - 0.02
        and max(gaps[2], gaps[3]) >= gaps[0]
        and exact[1].error <= 1.01 * exact[0].error
        and all(exact[b].retained > framed[b].retained + 0.002 for b in range(1, DEGREE + 1))
        and all(exact[b].error <= framed[b].error - 0.002 for b in (1, 2))
    )


def order_and_values_help(seed: int) -> bool:
    """Another order lowers the error of the crowded layer, and new values lower it again."""
    layer = crowded_layer(seed)
    mask, order = reorder(layer, HALF)
    regrouped = judge(layer, mask, HALF, order).error
    refitted = judge(layer, mask, HALF, order, refit(layer, mask, HALF, order)).error
    return refitted < regrouped < judge(layer, suggest(layer, HALF, "ria"), HALF).error


def best_mask(layer: ToyLayer, seed: int = 0) -> tuple[float, np.ndarray]:
    """The points and the mask, bool (8, 8), of the best that simulated annealing over rows finds."""
    pairs = [[i in pair for i in range(4)] for pair in itertools.combinations(range(4), 2)]
    rows = np.array([left + right for left in pairs for right in pairs])  # (36, 8), all rows that hold 2:4
    weight, inputs = layer.weight.double().numpy(), layer.inputs.double().numpy()
    lost = np.array([[((inputs @ (w * ~row)) ** 2).sum() for row in rows] for w in weight])
    lost /= ((inputs @ weight.T) ** 2).sum()

    def points(picks: np.ndarray) -> float:
        mask = rows[picks].astype(float)
        degrees = mask.sum(0)
        if not degrees.all():
            return 0.0
        sigma = np.linalg.svd(mask / np.sqrt(np.outer(mask.sum(1), degrees)), compute_uv=False)[1]
        return float(100 * (1 - sigma) * max(0.0, 1 - np.sqrt(lost[range(SIZE), picks].sum())))

    generator, best = np.random.default_rng(seed), (0.0, np.zeros(SIZE, dtype=int))
    for _ in range(RESTARTS):
        picks, heat = generator.integers(0, len(rows), SIZE), WARM
        now = points(picks)
        for _ in range(STEPS):
            tried = picks.copy()
            tried[generator.integers(SIZE)] = generator.integers(len(rows))
            earned = points(tried)
            if earned >= now or generator.random() < np.exp((earned - now) / heat):
                picks, now = tried, earned
                best = max(best, (now, picks), key=lambda found: found[0])
            heat = max(COLD, heat * COOLING)
    return best[0], rows[best[1]]


def main() -> None:
    """Search as the arguments ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=1000)
    parser.add_argument("--best", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.best:
        points, mask = best_mask(toy_layer())
        print(f"{points:.2f} points", *("".join(map(str, row)) for row in mask.astype(int)), sep="\n")
        return
    for seed in range(options.first, options.last):
        if fits(seed):
            print(seed, flush=True)


if __name__ == "__main__":
    main()
