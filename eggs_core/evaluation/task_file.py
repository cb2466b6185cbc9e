"""A zero-shot task of one's own: JSON lines, checked item by item, and the lm-eval task that is made of them."""

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from eggs_core.assets import ASSETS
from eggs_core.errors import EggsError
from eggs_core.reading import MOST_JSON_BYTES, parse_json, read_text
from eggs_core.validation import Count, Text, check

CLOZE = "cloze"
MOST_OPTIONS = 100


def _written(text: str) -> str:
    if not text.strip():
        raise ValueError("should be more than blank")
    return text


def _empty_or_written(text: str) -> str:
    return text and _written(text)


Words = Annotated[Text, AfterValidator(_written)]
Options = Annotated[list[Words], Field(min_length=2, max_length=MOST_OPTIONS)]


class ChoicesItem(TypedDict):
    """Which of the choices goes on from the query."""

    query: Annotated[Text, AfterValidator(_empty_or_written)]
    choices: Options
    gold: Count


class ContextsItem(TypedDict):
    """After which of the contexts the continuation is likeliest."""

    context_options: Options
    continuation: Words
    gold: Count


def task_file(task: str) -> Path | None:
    """The JSON lines behind a task: the bundled cloze task's, or a path of one's own; None for a name of lm-eval's."""
    if task == CLOZE:
        return ASSETS / "tasks" / "cloze.jsonl"
    return Path(os.path.expanduser(task)) if task.endswith((".jsonl", ".json")) else None


def write_task(file: Path, folder: Path) -> str:
    """Write the lm-eval task of a file of JSON lines into a folder, its items too, and return its name.

    Each line is {"query", "choices", "gold"}: which of the choices goes on from the query; or {"context_options",
    "continuation", "gold"}: after which of the contexts the continuation is likeliest. gold counts from 0.
    Raises EggsError, naming the line, for a file that is missing or of another form.
    """
    items = read_items(file)
    name = re.sub(r"\W+", "_", file.stem).strip("_").lower()[:80] or "task"
    contexts = "context_options" in items[0]
    lines = folder / f"{name}.jsonl"
    lines.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")  # in ASCII, so one line each
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(lines.resolve())}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "gold" if contexts else "query",
        "doc_to_choice": "context_options" if contexts else "choices",
        "doc_to_target": "continuation" if contexts else "gold",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in (("acc",) if contexts else ("acc", "acc_norm"))
        ],
        "metadata": {"version": 1.0},
    }
    (folder / f"{name}.yaml").write_text(json.dumps(task, indent=1), encoding="utf-8")  # JSON is YAML
    return name


def read_items(file: Path) -> list[dict[str, Any]]:
    """A task file's items, all of one form and nothing in them but that; raises EggsError as write_task does."""
    try:
        lines = read_text(file, MOST_JSON_BYTES).removeprefix("\ufeff").split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8" * isinstance(error, UnicodeError) or error
        raise EggsError(
            f"The task file {file.name[:200]} cannot be read ({reason}); give the path of a .jsonl file."
        ) from error
    items: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = check(parse_json(line), dict[str, Any])
            items.append(_item(value, "context_options" in (items[0] if items else value)))
        except ValueError as error:
            raise EggsError(
                f'Line {number} of {file.name[:200]} is not {{"query", "choices", "gold"}} with at least two choices '
                f"and gold among them, counted from 0 ({error}); correct it and try again."
            ) from error
    if not items:
        raise EggsError(f"The task file {file.name[:200]} is empty; write one JSON object per line.")
    return items


def _item(value: dict[str, Any], contexts: bool) -> dict[str, Any]:
    """The parts of one item by its form; raises ValueError for what is missing or of another kind."""
    form = ContextsItem if contexts else ChoicesItem
    item = {name: part for name, part in value.items() if name in form.__annotations__}
    check(item, form)
    options = item["context_options" if contexts else "choices"]
    if item["gold"] >= len(options):
        raise ValueError(f"gold is {item['gold']} and the last one is {len(options) - 1}")
    if options.count(options[item["gold"]]) > 1:  # two wrong ones alike are harmless; ARC-easy has such items
        raise ValueError("no other choice may be like the right one")
    return item
