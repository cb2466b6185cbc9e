"""Text, JSON and YAML that somebody else may have written, read within bounds."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

MOST_DEPTH = 64  # of brackets inside each other
MOST_JSON_BYTES = 64 << 20
MOST_YAML_BYTES = 1 << 20
MOST_TEXT_BYTES = 256 << 20
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)


def read_json(path: Path) -> Any:
    """A JSON file's value; raises OSError, or ValueError as `parse_json` does."""
    return parse_json(read_bytes(path, MOST_JSON_BYTES))


def read_text(path: Path, most: int = MOST_TEXT_BYTES) -> str:
    """A text file in UTF-8, its lines ended by "\\n"; raises OSError, or ValueError for other bytes or too many."""
    return read_bytes(path, most).decode().replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path, most: int) -> bytes:
    """A file's bytes; raises OSError, or ValueError for more than `most` of them (some files have no end)."""
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB")
    return data


def parse_json(text: str | bytes) -> Any:
    """The value of JSON that somebody else may have written: any JSON but what no program can go on with.

    Raises ValueError for what is no JSON or no UTF-8, for nesting deeper than MOST_DEPTH, for NaN and infinity, and for
    halves of surrogate pairs.
    """
    data = text.encode() if isinstance(text, str) else text
    brackets = np.frombuffer(_STRING.sub(b"", data), dtype=np.uint8)
    opened = (brackets == ord("[")) | (brackets == ord("{"))
    closed = (brackets == ord("]")) | (brackets == ord("}"))
    if np.max(np.cumsum(opened.astype(np.int32) - closed, dtype=np.int32), initial=0) > MOST_DEPTH:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
    value = json.loads(data, parse_constant=_refused, parse_float=_finite)
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_yaml(text: str) -> Any:
    """The value of YAML that somebody else may have written; every scalar stays text (else 2:4 is 124).

    Raises ValueError for what is no YAML, for nesting deeper than MOST_DEPTH and for aliases, which grow without end.
    """
    import yaml

    if len(text) > MOST_YAML_BYTES:
        raise ValueError(f"it is longer than {MOST_YAML_BYTES >> 20} MiB")
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # twenty times as fast, where it was compiled
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it uses aliases (*name), which are not read")
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ValueError(f"{message} in line {mark.line + 1}" if mark else message) from error


def _refused(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:20]} is too large")
    return value
