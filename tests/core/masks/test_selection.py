"""Selections: worked by hand at four patterns, and their properties."""

import hypothesis.strategies as st
import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from strategies import problems

from eggs_core import EggsError, NMPattern
from eggs_core.masks.bits import pack_bits, unpack_bits
from eggs_core.masks.degree_bound import min_degree_bound
from eggs_core.masks.selection import check_mask, degree, diagonal, retained_score, select, topn, topn_in_order

ROW = torch.tensor([[1.0, 9.0, 3.0, 7.0, 5.0, 5.0, 5.0, 2.0]])
PAIR = torch.tensor([[9.0, 8.0, 1.0, 2.0], [9.0, 8.0, 2.0, 1.0]])
BOTH = torch.tensor([[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [8.0, 7.0, 6.0, 5.0, 1.0, 2.0, 3.0, 4.0]])
SQUARE = torch.tensor([[9.0, 8.0, 1.0, 2.0], [9.0, 8.0, 2.0, 1.0], [9.0, 7.0, 1.0, 1.0], [9.0, 7.0, 1.0, 1.0]])


def bits(mask):
    return ["".join(str(int(v)) for v in row) for row in mask]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("1:4", "01001000"), ("2:4", "01011100"), ("3:4", "01111110"), ("4:8", "01011100")],
)
def test_topn_by_hand(pattern, expected):
    assert bits(topn(ROW, NMPattern.parse(pattern))) == [expected]


@pytest.mark.parametrize(
    ("pattern", "scores", "beta", "expected"),
    [
        # 1:4, one row may go to each column only with four rows: B = ⌊1 · 4 · 1/4⌋ = 1
        ("1:4", SQUARE, 1.0, ["0001", "0010", "1000", "0100"]),
        # 2:4, B = 1: the columns 2 and 3 take the place of the 8s, the cheaper ones to lose
        ("2:4", PAIR, 1.0, ["1001", "0110"]),
        # 3:4, B = ⌊2 · 3/4⌋ = 1 holds already
        ("3:4", PAIR, 1.0, ["1101", "1110"]),
        # 4:8, B = 1: the rows complement each other, and the first gains 3 and 1 over the second in columns 4 and 5
        ("4:8", BOTH, 1.0, ["11001100", "00110011"]),
    ],
)
def test_degree_by_hand(pattern, scores, beta, expected):
    pattern = NMPattern.parse(pattern)
    mask = degree(scores, pattern, beta)
    assert mask.sum(0).min() >= min_degree_bound(len(scores), pattern, beta)
    best = oracles.degree_optimum(
        scores.tolist(), pattern.keep, pattern.group, min_degree_bound(len(scores), pattern, beta)
    )
    by_hand = torch.tensor([[c == "1" for c in row] for row in expected])
    assert retained_score(scores, by_hand) == pytest.approx(best)  # the hand-made mask is an optimum
    assert retained_score(scores, mask) == pytest.approx(best)  # and so is ours, which may be another one


@pytest.mark.parametrize(
    ("pattern", "count", "expected"),
    [
        # SQUARE's diagonals (shift d: columns d, d+1, d+2, d+3 of rows 0–3) sum to 19, 20, 18, 19
        ("1:4", 1, ["0100", "0010", "0001", "1000"]),
        ("2:4", 1, ["1100", "1010", "1001", "1100"]),
        ("3:4", 1, ["1101", "1110", "1101", "1110"]),
        ("2:4", 2, ["1100", "0110", "0011", "1001"]),
    ],
)
def test_diagonal_by_hand(pattern, count, expected):
    assert bits(diagonal(SQUARE, NMPattern.parse(pattern), count)) == expected


def test_diagonal_by_hand_at_4_of_8():
    scores = torch.zeros(8, 8)
    scores[:, 0] = 9  # topn would keep columns 0–3 everywhere
    rows = torch.arange(8)
    scores[rows, (rows + 5) % 8] += 5
    mask = diagonal(scores, NMPattern(4, 8), 1)
    assert mask[rows, (rows + 5) % 8].all()
    assert mask[:, 0].all()
    assert mask.sum(0).min() >= 1


def test_the_diagonals_that_cost_least_are_kept():
    pattern = NMPattern(2, 4)
    scores = torch.rand(16, 8, generator=torch.Generator().manual_seed(0)) / 10
    row = torch.arange(4)
    for strip in (0, 4):
        scores[4 + row, strip + row] = 1.0  # in the second tile, top-N keeps two whole diagonals: they cost nothing
        scores[4 + row, strip + (row + 1) % 4] = 1.0
    scores[8:12] += 10  # the third tile's sums are far larger, but its diagonals cost something
    assert torch.equal(diagonal(scores, pattern, 2), topn(scores, pattern))
    forced = diagonal(scores, pattern, 4)  # now other tiles have to give
    assert retained_score(scores, forced) < retained_score(scores, topn(scores, pattern))
    assert forced.sum(0).min() >= 4


@pytest.mark.parametrize("pattern", ["1:4", "2:4", "4:8"])
def test_diagonals_cost_less_than_the_largest_sums_would(pattern):
    """Against a plain reading, the diagonals of the largest sums, made by a loop."""
    pattern = NMPattern.parse(pattern)
    scores = torch.rand(64, 16, generator=torch.Generator().manual_seed(1))
    count = 6
    assert retained_score(scores, diagonal(scores, pattern, count)) > retained_score(
        scores, torch.tensor(oracles.largest_diagonals(scores.tolist(), pattern.keep, pattern.group, count))
    )


def test_diagonal_leaves_a_partial_last_tile_to_score():
    scores = torch.rand(11, 8, generator=torch.Generator().manual_seed(0))
    pattern = NMPattern(2, 4)
    mask = diagonal(scores, pattern, 4)
    assert (mask[:8].view(8, 2, 4).sum(0) == 4).all()
    assert torch.equal(mask[8:], topn(scores[8:], pattern))
    assert torch.equal(diagonal(scores[:3], pattern), topn(scores[:3], pattern))  # no full tile at all


def test_too_many_diagonals_are_refused_with_what_is_possible():
    with pytest.raises(EggsError, match="0 to 4"):
        diagonal(torch.rand(11, 8), NMPattern(2, 4), 5)
    with pytest.raises(EggsError, match="-1 diagonals"):
        diagonal(torch.rand(11, 8), NMPattern(2, 4), -1)


def test_default_diagonals_are_one_per_144_rows():
    scores = torch.rand(290, 8)
    assert select(scores, NMPattern(2, 4), "diagonal").options == {"diagonals": 2}
    assert select(scores[:100], NMPattern(2, 4), "diagonal").options == {"diagonals": 1}


@pytest.mark.parametrize("pattern", ["1:4", "2:4", "3:4", "4:8", "8:32"])
def test_topn_in_an_order_is_that_of_the_ordered_columns(pattern):
    generator = torch.Generator().manual_seed(1)
    scores = torch.randint(0, 9, (7, 64), generator=generator).float()  # with ties
    order, found = torch.randperm(64, generator=generator), NMPattern.parse(pattern)
    assert torch.equal(topn_in_order(scores, found, order), topn(scores[:, order], found)[:, order.argsort()])


@settings(max_examples=60, deadline=None)
@given(problems())
def test_topn_equals_the_plain_loop(problem):
    scores, pattern = problem
    assert topn(scores, pattern).tolist() == oracles.topn(scores.tolist(), pattern.keep, pattern.group)
    assert torch.equal(degree(scores, pattern, 0.0), topn(scores, pattern))
    assert torch.equal(diagonal(scores, pattern, 0), topn(scores, pattern))


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(0, 1))
def test_diagonal_keeps_its_bound(problem, share):
    scores, pattern = problem
    count = int(share * (scores.shape[0] // pattern.group * pattern.keep))
    mask = diagonal(scores, pattern, count)
    check_mask(mask, pattern, "test")
    assert mask.sum(0).min() >= count


def test_selections_report_what_they_used():
    scores = torch.rand(64, 16, generator=torch.Generator().manual_seed(2))
    pattern = NMPattern(2, 4)
    bounded = select(scores, pattern, "degree", beta=0.5)
    assert (bounded.options, bounded.min_degree) == ({"beta": 0.5}, 16)
    assert "at least 16 of 64 weights" in bounded.note
    auto = select(scores, pattern, "degree")
    assert auto.min_degree == min_degree_bound(64, pattern, auto.options["beta"])
    assert select(scores, pattern, "diagonal", diagonals=3).min_degree == 3
    assert torch.equal(select(scores, pattern, "topn").mask, topn(scores, pattern))


@pytest.mark.parametrize(
    ("selection", "options", "message"),
    [
        ("best", {}, "topn, diagonal, degree"),
        ("topn", {"beta": 0.1}, "does not use beta"),
        ("degree", {"diagonals": 2}, "does not use diagonals"),
    ],
)
def test_options_that_would_do_nothing_are_refused(selection, options, message):
    with pytest.raises(EggsError, match=message):
        select(torch.rand(4, 4), NMPattern(2, 4), selection, **options)


@pytest.mark.parametrize("selection", ["topn", "diagonal", "degree"])
def test_bad_scores_are_refused(selection):
    scores = torch.rand(8, 8)
    scores[1, 2] = float("nan")
    with pytest.raises(EggsError, match="NaN"):
        select(scores, NMPattern(2, 4), selection)
    with pytest.raises(EggsError, match=r"\(8, 6\)"):
        select(torch.rand(8, 6), NMPattern(2, 4), selection)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("selection", ["topn", "diagonal", "degree"])
def test_other_dtypes_are_selected_from(selection, dtype):
    scores = torch.rand(12, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    check_mask(select(scores, NMPattern(2, 4), selection).mask, NMPattern(2, 4), "test")


@pytest.mark.parametrize("shape", [(1, 8), (3, 13), (5, 64)])
def test_packed_bits_come_back(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    packed = pack_bits(mask)
    assert packed.dtype == torch.uint8
    assert np.array_equal(packed.numpy(), np.packbits(mask.numpy(), axis=1))
    assert torch.equal(unpack_bits(packed, shape), mask)
    with pytest.raises(EggsError, match="does not unpack"):
        unpack_bits(packed, (shape[0] + 1, shape[1]))


def test_check_mask_says_where():
    mask = topn(torch.rand(4, 8), NMPattern(2, 4))
    mask[2, 4:] = True
    with pytest.raises(EggsError, match=r"block\.0 breaks 2:4 in 1 of 8 groups; the first is row 2, group 1"):
        check_mask(mask, NMPattern(2, 4), "block.0")
    with pytest.raises(EggsError, match="bool matrix"):
        check_mask(mask.float(), NMPattern(2, 4), "block.0")
