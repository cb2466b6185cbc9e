"""The lesson's layer: measured as real layers are, and what each step says of it is true."""

import re
from pathlib import Path

import pytest
import torch

from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import (
    best_points,
    crowded_layer,
    eggs_points,
    judge,
    largest,
    refit,
    reorder,
    suggest,
    toy_layer,
)

HALF = NMPattern(2, 4)
ROOT = Path(__file__).resolve().parents[3]


def test_topn_cuts_an_input_off_and_diagonals_do_not():
    layer = toy_layer()
    assert judge(layer, suggest(layer, HALF, "ria"), HALF).orphans == [3]
    eggs = judge(layer, suggest(layer, HALF, "ria", "diagonal"), HALF)
    assert (
        not eggs.orphans and not eggs.wrong_groups and eggs.points == pytest.approx(eggs_points()) and eggs.points > 0
    )


def test_gap_and_error_by_another_way():
    layer = toy_layer()
    mask = suggest(layer, HALF, "ria", "degree", beta=1.0)
    found = judge(layer, mask, HALF)
    assert found.in_degrees == [4] * 8
    assert found.gap == pytest.approx(1 - torch.linalg.svdvals(mask.float() / 4)[1].item(), abs=1e-4)
    wanted, got = layer.inputs @ layer.weight.T, layer.inputs @ torch.where(mask, layer.weight, 0).T
    assert found.error == pytest.approx(((wanted - got).norm() / wanted.norm()).item(), rel=1e-5)


def test_a_broken_mask_earns_nothing():
    layer = toy_layer()
    assert judge(layer, largest(layer, 64), HALF).points == 0
    with pytest.raises(EggsError, match="bool"):
        judge(layer, torch.ones(2, 2, dtype=torch.bool), HALF)


def test_the_challenge_can_be_won():
    layer = toy_layer()
    mask = suggest(layer, HALF, "ria", "diagonal")
    best = judge(layer, mask, HALF).points
    for row in range(8):
        for first in (0, 4):
            for a in range(first, first + 4):
                for b in range(first, first + 4):
                    swapped = mask.clone()
                    swapped[row, a], swapped[row, b] = mask[row, b], mask[row, a]
                    best = max(best, judge(layer, swapped, HALF).points)
    assert best > eggs_points() + 0.1


def test_regrouping_and_refitting_each_lower_the_error_of_the_crowded_layer():
    layer = crowded_layer()
    as_is = judge(layer, suggest(layer, HALF, "ria"), HALF)
    mask, order = reorder(layer, HALF)
    regrouped = judge(layer, mask, HALF, order)
    refitted = judge(layer, mask, HALF, order, refit(layer, mask, HALF, order))
    assert not regrouped.wrong_groups and judge(layer, mask, HALF).wrong_groups
    assert refitted.error < regrouped.error < as_is.error


def test_the_teachers_page_gives_the_figures_that_the_lesson_shows():
    layer = toy_layer()
    page = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    bits = "".join(re.findall(r"`([01]{4}) ([01]{4})`", page)[i][j] for i in range(8) for j in range(2))
    best = judge(layer, torch.tensor([b == "1" for b in bits]).view(8, 8), HALF)
    eggs = judge(layer, suggest(layer, HALF, "ria", "diagonal"), HALF)
    two = judge(layer, suggest(layer, HALF, "ria", "diagonal", diagonals=2), HALF)
    half = judge(layer, suggest(layer, HALF, "ria", "degree", beta=0.5), HALF)
    heavy = layer.heavier(4, 3)
    kept = [int(suggest(x, HALF, n)[:, 4].sum()) for n in ("magnitude", "wanda", "ria") for x in (layer, heavy)]
    assert best.points == pytest.approx(best_points()) and kept == [4, 6, 5, 8, 4, 5]
    for figure in (
        f"earns {eggs.points:.1f}",
        f"found {best.points:.1f}",
        f"({best.error:.3f} instead of {eggs.error:.3f})",
        f"({best.gap:.3f} instead of {eggs.gap:.3f})",
        f"{half.retained:.1%} against {two.retained:.1%}".replace("%", " %"),
        f"it is {judge(layer, largest(layer, 32), HALF).error:.3f}",
        "(4 → 6 and 5 → 8 kept)",
        "(4 → 5)",
    ):
        assert figure in page, figure
