"""N:M is parsed once, and everything that is no N:M is refused in a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eggs_core.errors import EggsError
from eggs_core.pattern import MAX_GROUP, NMPattern


@pytest.mark.parametrize(
    ("text", "density", "sparsity", "bits"),
    [("1:4", 0.25, 0.75, 2), ("2:4", 0.5, 0.5, 2), ("3:4", 0.75, 0.25, 2), ("4:8", 0.5, 0.5, 3), ("1:1", 1, 0, 0)],
)
def test_keeps_n_of_m(text, density, sparsity, bits):
    pattern = NMPattern.parse(text)
    assert (pattern.density, pattern.sparsity, pattern.position_bits) == (density, sparsity, bits)


@given(st.integers(1, MAX_GROUP).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))))
def test_text_round_trip(pair):
    pattern = NMPattern(*pair)
    assert NMPattern.parse(str(pattern)) == pattern
    assert NMPattern.parse(f" {pair[0]} : {pair[1]} ") == pattern
    assert NMPattern.parse(pattern) is pattern
    assert 2**pattern.position_bits >= pattern.group > 2**pattern.position_bits // 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("5:4", "N cannot exceed M; got 5:4"),
        ("0:4", "at least 1; got 0:4"),
        ("-1:4", "at least 1"),
        ("128%", "N cannot exceed M; got 128%"),
        ("0%", "at least 1; got 0%"),
        ("12.5%", "two whole numbers"),
        ("0:0", "at least 1"),
        ("", "two whole numbers"),
        ("2", "two whole numbers"),
        ("2.0:4", "two whole numbers"),
        ("a:b", "two whole numbers"),
        ("2:4:8", "two whole numbers"),
        ("²:4", "two whole numbers"),
        ("9" * 40 + ":4", "two whole numbers"),
        ("2:4\n;", "two whole numbers"),
    ],
)
def test_refused(text, says):
    with pytest.raises(EggsError, match=says) as caught:
        NMPattern.parse(text)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=12))
def test_any_text_parses_or_is_refused(text):
    try:
        pattern = NMPattern.parse(text)
    except EggsError:
        return
    assert 1 <= pattern.keep <= pattern.group


def test_an_unstructured_pattern_is_n_of_each_layers_width():
    half = NMPattern.parse(" 50 % ")
    assert (str(half), half.density, half.packs) == ("50%", 0.5, False)
    assert half.on(192) == NMPattern(96, 192) and not half.on(192).packs
    assert NMPattern.parse("1%").on(10) == NMPattern(1, 10)  # a row is never emptied
    assert NMPattern.parse("2:4").on(192) == NMPattern.parse("2:4") and NMPattern.parse("2:4").packs
    assert {str(NMPattern.parse(f"{share}%")) for share in range(1, 101)} == {f"{share}%" for share in range(1, 101)}


def test_large_groups_cannot_be_asked_for_and_nothing_unstructured_packs():
    with pytest.raises(EggsError, match="at most 32"):
        NMPattern.parse("2:64").check_asked()
    NMPattern.parse("50%").check_asked()
    for text in ("50%", "32:64"):
        with pytest.raises(EggsError, match="no packed form"):
            NMPattern.parse(text).check_packs()


def test_check_names_layer_shape_and_pattern():
    pattern = NMPattern(2, 4)
    pattern.check("fine", (3, 8))
    with pytest.raises(EggsError, match=r"Pattern 2:4 .* layer blocks\.3\.up has shape \(8, 30\) and 30 = 7 × 4 \+ 2"):
        pattern.check("blocks.3.up", (8, 30))


def test_patterns_are_values():
    assert len({NMPattern(2, 4), NMPattern(2, 4), NMPattern(1, 4)}) == 2
    with pytest.raises(AttributeError):
        NMPattern(2, 4).keep = 3
