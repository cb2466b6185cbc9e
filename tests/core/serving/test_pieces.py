"""Pieces of text: whole characters, as the tokenizer writes them all together, and nothing behind a stop sequence."""

import pytest

from eggs_core.serving.pieces import Pieces

TEXTS = ["The naïve café — 日本語 🥚🥚🏳️‍🌈 ends.", "  two  spaces\n\n\tand lines ", "zero\u200bwidth"]


def streamed(tokenizer, text: str, stops=(), prompt="We the people") -> tuple[list[str], Pieces]:
    before = tokenizer(prompt).input_ids
    pieces, found = Pieces(tokenizer, before, stops), []
    for token in tokenizer(text).input_ids:
        found.append(pieces.add(token))
        if pieces.stopped:
            break
    return [*found, pieces.rest()], pieces


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("model", ["tiny-llama", "tiny-opt"])
def test_pieces_are_whole_characters_and_make_the_text(bundled, model, text):
    found, pieces = streamed(bundled(model).tokenizer, text)
    assert "".join(found) == text and not pieces.stopped
    assert not any("\ufffd" in piece for piece in found)
    assert sum(map(bool, found)) > 3, "in pieces"


def test_bytes_that_never_make_a_character_are_given_out_in_time(bundled):
    tokenizer = bundled().tokenizer
    egg = tokenizer("🥚").input_ids
    assert len(egg) > 1
    pieces = Pieces(tokenizer, [])
    found = [pieces.add(egg[0]) for _ in range(40)]
    assert any(found) and set("".join(found)) == {"\ufffd"}
    cut = Pieces(tokenizer, [])
    assert cut.add(egg[0]) == "" and "\ufffd" in cut.rest()


@pytest.mark.parametrize(
    ("text", "stops", "left"),
    [
        ("one two three four", ["three"], "one two "),
        ("one two three four", ["four", "two th"], "one "),
        ("one two three four", ["two thx", "fourteen"], "one two three four"),
        ("a\n\nb\n\nc", ["\n\n"], "a"),
        ("stop at once", ["stop"], ""),
        ("日本語 text", ["語"], "日本"),
        ("aaab", ["aab"], "a"),
    ],
)
def test_stop_sequences_may_span_tokens_and_are_never_shown(bundled, text, stops, left):
    found, pieces = streamed(bundled().tokenizer, text, stops)
    assert "".join(found) == left
    assert pieces.stopped == (left != text)


def test_special_tokens_are_not_shown(bundled):
    tokenizer = bundled().tokenizer
    pieces = Pieces(tokenizer, [])
    assert pieces.add(tokenizer.eos_token_id) + pieces.rest() == ""
