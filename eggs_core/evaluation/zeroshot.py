"""Zero-shot multiple-choice tasks through EleutherAI's lm-eval, on models in memory; lm-eval is imported when used."""

from __future__ import annotations

import copy
import importlib.util
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eggs_core.assets import install_command
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval, paired_difference
from eggs_core.evaluation.shared_context import SharedContext, check_finite
from eggs_core.evaluation.task_file import CLOZE, read_items, task_file, write_task
from eggs_core.heavy import torch
from eggs_core.limits import OWN, check_items, hosted
from eggs_core.progress import Progress, memory_errors

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ONLINE = ("arc_easy", "piqa", "openbookqa", "winogrande", "hellaswag", "boolq")  # offered by name; any other works too
MISSING = f"Zero-shot tasks need lm-eval: {install_command('eval')}, then start again."
BATCH = 16
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class TaskScore:
    """One model on one task: accuracy, and accuracy by the answer's log-likelihood per byte, each with standard error.

    `right` and `right_norm` say of each item, in the task's order, whether it was answered rightly.
    """

    task: str
    items: int
    chance: float  # accuracy of guessing
    acc: float
    acc_stderr: float
    acc_norm: float | None
    acc_norm_stderr: float | None
    right: list[int]
    right_norm: list[int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @property
    def best_acc(self) -> float:
        """Normalised accuracy where the task has it, else accuracy."""
        return self.acc if self.acc_norm is None else self.acc_norm

    @property
    def best_right(self) -> list[int]:
        """Each item by normalised accuracy where the task has it, else by accuracy."""
        return self.right_norm or self.right


def difference(dense: TaskScore, pruned: TaskScore) -> Interval:
    """Change of accuracy (normalised where the task has it) on the same items, with its bootstrap 95 % interval."""
    return paired_difference(dense.best_right, pruned.best_right)


def installed() -> bool:
    """Is lm-eval there?"""
    return importlib.util.find_spec("lm_eval") is not None


def zero_shot(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tasks: list[str], limit: int | None = None
) -> Iterator[Progress | TaskScore]:
    """Answer the first `limit` items of each task; yields progress, and a TaskScore after each task.

    A task is CLOZE, the path of a .jsonl file (see write_task), or a name that lm-eval knows, which is fetched from the
    Hub. Closing the generator stops after the batch at hand. Raises EggsError for no or an unknown task, a task that
    does not score choices, no network, and lm-eval missing.
    """
    check_tasks(tasks, limit)
    for number, task in enumerate(tasks):
        yield from _one(model, tokenizer, task, limit, number / len(tasks), 1 / len(tasks))


def check_tasks(tasks: list[str], limit: int | None) -> None:
    """Raise EggsError for tasks that cannot be answered, or not here."""
    if not tasks:
        raise EggsError("Choose at least one task.")
    if limit is not None and limit < 2:
        raise EggsError(f"At least two items are needed, as one has no standard error; got a limit of {limit}.")
    check_items(limit)
    if hosted() and not {*tasks} <= {CLOZE, *ONLINE}:
        raise EggsError(f"This public server answers only {CLOZE}, {', '.join(ONLINE)}; choose among them, {OWN}.")
    if not installed():
        raise EggsError(MISSING)
    for task in tasks:
        if (file := task_file(task)) and len(read_items(file)) < 2:
            raise EggsError(f"The task file {file.name[:200]} has one item, which has no standard error; add another.")


@dataclass(slots=True)
class _Watch:
    """How many choices of a task are answered, and since when; `stop` ends it after the batch at hand."""

    stop: threading.Event = field(default_factory=threading.Event)
    done: int = 0
    total: int = 0
    started: float = 0.0


def _one(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: str,
    limit: int | None,
    share: float,
    part: float,
) -> Iterator[Progress | TaskScore]:
    """One task, in a thread of its own so that it can be watched and stopped."""
    yield Progress(f"Reading {Path(task).stem}", share)
    watch = _Watch()
    watched = _watched(model, tokenizer, watch)
    scores: list[TaskScore] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with (
                memory_errors(f"Answering {Path(task).stem}"),
                tempfile.TemporaryDirectory(prefix="eggs-task-") as place,
            ):
                scores.append(_score(watched, task, limit, Path(place)))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(LOOK_SECONDS)
            if watch.started and watch.total:
                done = min(1.0, watch.done / watch.total)
                left = (time.monotonic() - watch.started) * (1 / done - 1) if done else None
                yield Progress(f"{Path(task).stem}: {done:.0%} of {watch.total} choices", share + part * done, left)
    finally:
        watch.stop.set()
        thread.join()
    if errors:
        raise errors[0]
    yield scores[0]


class _Stopped(Exception):
    """Raised inside lm-eval when nobody waits for the result any more."""


def _watched(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, watch: _Watch) -> HFLM:
    """lm-eval's wrapper of a model in memory, which tells `watch` what it has answered and stops at its word."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    class Watched(HFLM):
        def _loglikelihood_tokens(
            self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
        ) -> list[tuple[float, bool]]:
            watch.total, watch.started = len(requests), time.monotonic()
            answers: dict[int, tuple[float, bool]] = {}
            for found in SharedContext(self.model, self.softmax_dtype).answers(requests, self.max_length):
                if watch.stop.is_set():
                    raise _Stopped
                answers |= found
                watch.done += len(found)
            for number, answer in answers.items():
                if (key := requests[number][0]) is not None:
                    self.cache_hook.add_partial("loglikelihood", key, answer)
            left = [n for n in range(len(requests)) if n not in answers]
            others = super()._loglikelihood_tokens([requests[n] for n in left], True, override_bs) if left else []
            answers.update(zip(left, others, strict=True))
            return [answers[n] for n in range(len(requests))]

        def _model_call(self, inps: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            if watch.stop.is_set():
                raise _Stopped
            logits = super()._model_call(inps, *args, **kwargs)
            check_finite(logits)
            watch.done += len(inps)
            return logits

    return Watched(pretrained=model, tokenizer=_with_end(tokenizer), batch_size=BATCH)


def _with_end(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy that has an end token and pads with it, as lm-eval needs; whatever follows a choice is not scored."""
    tokenizer = copy.deepcopy(tokenizer)
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(0)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@lru_cache(maxsize=1)
def _published_tasks() -> TaskManager:
    """The tasks that come with lm-eval, which takes a quarter of a minute to read the files of."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _score(lm: HFLM, task: str, limit: int | None, folder: Path) -> TaskScore:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    file = task_file(task)
    name = write_task(file, folder) if file else task
    manager = TaskManager(include_path=str(folder), include_defaults=False) if file else _published_tasks()
    if name not in manager.all_tasks:
        raise EggsError(f"lm-eval knows no task {name!r}; choose another, or give the path of a .jsonl file.")
    try:
        result = simple_evaluate(lm, tasks=[name], limit=limit, task_manager=manager, bootstrap_iters=2)
    except (_Stopped, EggsError):
        raise
    except (OSError, ConnectionError) as error:
        raise EggsError(
            f"The task {name} could not be fetched from the Hub; check the network, or choose the bundled cloze task."
        ) from error
    except (AssertionError, ValueError, TypeError, LookupError) as error:  # a choice is longer than the model reads
        message = (str(error).strip().splitlines() or ["one is longer than the model reads"])[0][:200].rstrip(" .")
        raise EggsError(f"lm-eval cannot answer the items of {name[:80]} ({message}); correct them.") from error
    figures, samples = result["results"].get(name, {}), result["samples"].get(name, [])
    if "acc,none" not in figures or not samples:
        raise EggsError(f"The task {name} does not score choices by accuracy; choose another.")
    samples = sorted(samples, key=lambda sample: sample["doc_id"])

    def number(key: str) -> float | None:
        return float(figures[key]) if key in figures else None

    return TaskScore(
        Path(task).stem if file else name,
        len(samples),
        sum(1 / len(s["arguments"]) for s in samples) / len(samples),
        float(figures["acc,none"]),
        float(figures["acc_stderr,none"]),
        number("acc_norm,none"),
        number("acc_norm_stderr,none"),
        [int(s["acc"]) for s in samples],
        [int(s["acc_norm"]) for s in samples if "acc_norm" in s],
    )
