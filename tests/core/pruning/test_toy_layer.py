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
    judge,
    largest,
    refit,
    refit_own,
    reorder,
    star_marks,
    star_points,
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
        not eggs.orphans and not eggs.wrong_groups and eggs.points == pytest.approx(star_marks()[0]) and eggs.points > 0
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


def test_one_swap_earns_no_star_and_the_best_mask_known_all_three():
    layer, mask = toy_layer(), suggest(toy_layer(), HALF, "ria")
    best = 0.0
    for row in range(8):
        for first in (0, 4):
            for a in range(first, first + 4):
                for b in range(first, first + 4):
                    swapped = mask.clone()
                    swapped[row, a], swapped[row, b] = mask[row, b], mask[row, a]
                    best = max(best, judge(layer, swapped, HALF).points)
    goals = star_points()
    assert best < goals[0] < goals[1] < goals[2] <= best_points()


def test_regrouping_and_refitting_each_lower_the_error_of_the_crowded_layer():
    layer = crowded_layer()
    as_is = judge(layer, suggest(layer, HALF, "ria"), HALF)
    mask, order = reorder(layer, HALF)
    regrouped = judge(layer, mask, HALF, order)
    refitted = judge(layer, mask, HALF, order, refit(layer, mask, HALF, order))
    assert not regrouped.wrong_groups and judge(layer, mask, HALF).wrong_groups
    assert refitted.error < regrouped.error < as_is.error
    own, values = refit_own(layer, HALF)
    sparsegpt = judge(layer, own, HALF, values=values)
    assert not sparsegpt.wrong_groups and sparsegpt.error < min(as_is.error, judge(layer, own, HALF).error)


def test_the_teachers_page_gives_the_figures_that_the_lesson_shows():
    layer = toy_layer()
    page = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    bits = "".join(re.findall(r"`([01]{4}) ([01]{4})`", page)[i][j] for i in range(8) for j in range(2))
    best = judge(layer, torch.tensor([b == "1" for b in bits]).view(8, 8), HALF)
    eggs = judge(layer, suggest(layer, HALF, "ria", "diagonal"), HALF)
    two = judge(layer, suggest(layer, HALF, "ria", "diagonal", diagonals=2), HALF)
    half = judge(layer, suggest(layer, HALF, "ria", "degree", beta=0.5), HALF)
    framed = judge(layer, suggest(layer, HALF, "ria", "diagonal", diagonals=4), HALF)
    equal = judge(layer, suggest(layer, HALF, "ria", "degree", beta=1.0), HALF)
    light = layer.heavier(4, 0.25)
    kept = [int(suggest(x, HALF, n)[:, 4].sum()) for n in ("magnitude", "wanda", "ria") for x in (layer, light)]
    assert best.points == pytest.approx(best_points()) and kept == [4, 0, 4, 2, 4, 4]
    for figure in (
        f"mask earns {eggs.points:.1f}",
        f"exact bound {star_marks()[1]:.1f}",
        f"{best.points:.1f}, row by row",
        f"Its gap is {best.gap:.3f} and its error {best.error:.3f}",
        f"are {eggs.gap:.3f} and {eggs.error:.3f}",
        f"{half.retained:.1%} against {two.retained:.1%}".replace("%", " %"),
        f"(it is {judge(layer, largest(layer, 32), HALF).error:.3f})",
        f"exact bound one of {equal.gap:.3f}",
        f"four diagonals one of {framed.gap:.3f}",
        "Magnitude (4 → 0 kept) and Wanda (4 → 2)",
        "(4 → 4)",
    ):
        assert figure in page, figure
