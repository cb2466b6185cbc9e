"""Tokenizers as llama.cpp keeps them: byte-level BPE, and BPE as SentencePiece computes it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eggs_core.errors import EggsError
from eggs_core.text.windows import has_beginning

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

SPACE = "▁"  # what SentencePiece has for a space
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How a text is cut before byte-level BPE, whether whole words need no merges, and what llama.cpp calls that.
CUTS = {
    (("ByteLevel", True),): "gpt-2",
    (("Digits", True), ("ByteLevel", True)): "smollm",
    (("Split", _WORDS % ""), ("ByteLevel", False)): "qwen2",
    (("Split", _WORDS % "{1,3}"), ("ByteLevel", False)): "llama-bpe",
}
WHOLE_WORDS = ("llama-bpe",)
_NORMAL, _UNKNOWN, _CONTROL, _OWN, _UNUSED, _BYTE = range(1, 7)  # kinds of tokens


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer as llama.cpp reads it: a kind of model and the way a text is cut, tokens, and merges or scores."""

    model: str
    cut: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    scores: list[float]
    space_first: bool

    def write(self, writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write it, with the tokenizer's special tokens and chat template."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.cut)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.kinds)
        if self.merges:
            writer.add_token_merges(self.merges)
        if self.scores:
            writer.add_token_scores(self.scores)
            writer.add_add_space_prefix(self.space_first)
        for name in ("bos", "eos", "unk", "pad"):
            if (number := getattr(tokenizer, f"{name}_token_id")) is not None:
                getattr(writer, f"add_{name}_token_id")(number)
        writer.add_add_bos_token(has_beginning(tokenizer))
        writer.add_add_eos_token(False)
        if isinstance(tokenizer.chat_template, str):
            writer.add_chat_template(tokenizer.chat_template)


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, rows: int) -> Vocabulary:
    """A tokenizer as llama.cpp reads it, for a model with embeddings of so many tokens.

    Raises EggsError, with the reason, for one that llama.cpp would not cut texts by in the same way.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise _unknown("it is written in Python")
    whole = json.loads(backend.to_str())
    model = whole["model"]
    if model["type"] != "BPE":
        raise _unknown(f"it is of the kind {model['type']}")
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix") or model.get("dropout"):
        raise _unknown("its pieces have marks of their own")
    ids: dict[str, int] = model["vocab"] | {added["content"]: added["id"] for added in whole["added_tokens"]}
    if max(ids.values(), default=0) >= rows:
        raise _unknown(f"it has more tokens than the {rows:,} of its model")
    if tokenizer("a").input_ids[-1:] != tokenizer("a", add_special_tokens=False).input_ids[-1:]:
        raise _unknown("it ends every text with a token")
    tokens, kinds = [f"[PAD{i}]" for i in range(rows)], [_UNUSED] * rows
    for token, number in ids.items():
        tokens[number], kinds[number] = token, _NORMAL
    for added in whole["added_tokens"]:
        kinds[added["id"]] = _CONTROL if added["special"] else _OWN
    pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    if not model.get("byte_fallback"):
        return Vocabulary("gpt2", _cut(whole), tokens, kinds, [" ".join(pair) for pair in pairs], [], False)
    for token, number in model["vocab"].items():
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            kinds[number] = _BYTE
    if (unknown := model.get("unk_token")) in ids:
        kinds[ids[unknown]] = _UNKNOWN
    ordinary = {token for token, number in ids.items() if kinds[number] == _NORMAL}
    ranks = _ranks(pairs, ordinary)
    scores = [-float(ranks.get(token, len(ranks))) for token in tokens]
    return Vocabulary("llama", "default", tokens, kinds, [], scores, _space_first(whole))


def _unknown(reason: str) -> EggsError:
    return EggsError(f"The tokenizer cannot be told to llama.cpp, as {reason}; use hf instead of gguf.")


def _parts(step: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    """The steps of a normaliser or pre-tokenizer of the tokenizers library."""
    if step is None:
        return []
    return step[inside] if step["type"] == "Sequence" else [step]


def _cut(whole: dict[str, Any]) -> str:
    """What llama.cpp calls the way in which a byte-level tokenizer cuts a text."""
    if any(step["type"] != "NFC" for step in _parts(whole["normalizer"], "normalizers")):
        raise _unknown("it changes texts before it cuts them")
    steps: list[tuple[str, Any]] = []
    for step in _parts(whole["pre_tokenizer"], "pretokenizers"):
        said: Any = None
        if step["type"] == "ByteLevel" and not step["add_prefix_space"]:
            said = step.get("use_regex", True)
        elif step["type"] == "Digits":
            said = step["individual_digits"]
        elif step["type"] == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
            said = step["pattern"].get("Regex")
        steps.append((step["type"], said))
    found = CUTS.get(tuple(steps))
    if found is None or bool(whole["model"].get("ignore_merges")) != (found in WHOLE_WORDS):
        raise _unknown("it cuts texts into words in a way of its own")
    return found


def _space_first(whole: dict[str, Any]) -> bool:
    """Does a SentencePiece tokenizer put a space before a text?"""
    steps = [(step["type"], step) for step in _parts(whole["normalizer"], "normalizers")]
    kinds = [kind for kind, _ in steps]
    before = _parts(whole["pre_tokenizer"], "pretokenizers")
    if kinds and kinds[-1] == "Replace" and kinds[:-1] in ([], ["Prepend"]):
        replaced = steps[-1][1]
        plain = replaced["pattern"] == {"String": " "} and replaced["content"] == SPACE
        nothing = all(step["type"] == "Split" and step["pattern"] == {"String": " "} for step in before)
        if plain and nothing and all(step["prepend"] == SPACE for kind, step in steps if kind == "Prepend"):
            return len(kinds) == 2
    if not kinds and len(before) == 1 and before[0]["type"] == "Metaspace":
        step = before[0]
        if step["replacement"] == SPACE and not step["split"]:
            return step["prepend_scheme"] != "never"
    raise _unknown("it changes texts before it cuts them")


def _ranks(pairs: list[tuple[str, ...]], ordinary: set[str]) -> dict[str, int]:
    """Which pieces are made before which, as SentencePiece does: by the piece, whatever two it is made of."""
    ranks: dict[str, int] = {}
    made: dict[str, set[int]] = defaultdict(set)
    last = None
    for left, right in pairs:
        piece = left + right
        if piece != last and piece in ranks:
            raise _unknown("its merges are not in SentencePiece's order")
        ranks.setdefault(piece, len(ranks))
        made[piece].add(len(left))
        last = piece
    for piece in ordinary:
        if made[piece] != {i for i in range(1, len(piece)) if piece[:i] in ordinary and piece[i:] in ordinary}:
            raise _unknown("its merges are not those of SentencePiece")
    return ranks
