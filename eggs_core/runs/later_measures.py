"""What can still be asked of a finished run: tasks, other texts, single tokens, and where pruning does its harm.

Each function is a generator of progress whose last value is the answer. All raise EggsError as `recover` does.
"""

from collections.abc import Generator
from typing import Any

from eggs_core.evaluation.by_part import BlockDrift, PartCost, drift, leave_one_in
from eggs_core.evaluation.perplexity import protocol
from eggs_core.evaluation.steps import evaluate_steps
from eggs_core.evaluation.tokens import TokenChange, compare_tokens, compared_ids
from eggs_core.evaluation.zeroshot import TaskScore, zero_shot
from eggs_core.models.dense_models import CACHE
from eggs_core.models.fingerprints import check_same_weights
from eggs_core.models.loading import LoadedModel
from eggs_core.progress import Progress, memory_errors
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.rotated import dense_copy
from eggs_core.runs.run import Run
from eggs_core.runs.streamed import check_in_memory
from eggs_core.text.sources import Text, bundled_text
from eggs_core.text.windows import bos_of, evaluation_windows

MOST_WINDOWS = 64  # of another text


def _dense(run: Run) -> Generator[Progress, None, LoadedModel]:
    """The dense model of a run, against which what is asked is checked before the pruned one is made anew."""
    check_in_memory(run)
    yield Progress(f"Loading {run.report['model']}", 0.0)
    dense = CACHE.get(run.report["model"])
    check_same_weights(run.report, dense)
    return dense


def task_steps(
    run: Run, side: str, tasks: tuple[str, ...], limit: int
) -> Generator[Progress | dict[str, TaskScore], None, None]:
    """Progress, and at the end the scores of a run's "dense" or "pruned" model by task, on the first `limit` items."""
    if side == "dense":
        dense = yield from _dense(run)
        model, tokenizer = dense.model, dense.tokenizer
    else:
        models = yield from recover(run)
        model, tokenizer = models.zeros, models.dense.tokenizer
    names, scores = iter(tasks), {}
    for event in zero_shot(model, tokenizer, list(tasks), limit):
        if isinstance(event, Progress):
            yield event
        else:
            scores[next(names)] = event
    yield scores


def text_steps(run: Run, text: Text) -> Generator[Progress | dict[str, Any], None, None]:
    """Progress, and at the end a text's protocol with the scores of both models, in windows as long as the run's."""
    dense = yield from _dense(run)
    tokenizer, bos = dense.tokenizer, run.config.bos
    windows = evaluation_windows(tokenizer, text, MOST_WINDOWS, run.report["evaluation"]["window"], bos)
    dense.check_tokens(windows)
    models = yield from recover(run)
    row: dict[str, Any] = {**protocol(text, windows, bos_of(tokenizer, bos))}
    with memory_errors("Evaluating the text"):
        for side, model, first in (("dense", models.dense.model, 0.0), ("pruned", models.zeros, 0.5)):
            scores = yield from evaluate_steps(model, windows, f"{text.name}, {side}", first, first + 0.5)
            row[side] = scores.to_dict()
    yield row


def breakdown_steps(
    run: Run, windows: int
) -> Generator[Progress | tuple[list[BlockDrift], list[PartCost]], None, None]:
    """Progress, and at the end the drift behind every block and what each part costs, on the held-out speeches."""
    models = yield from recover(run)
    dense = models.dense.model if run.rotation is None else dense_copy(run, models.dense)  # hidden states turned alike
    pruned = models.zeros
    length = run.report["evaluation"]["window"]
    text = evaluation_windows(models.dense.tokenizer, bundled_text("heldout"), windows, length, run.config.bos)
    models.dense.check_tokens(text)
    parts = []
    with memory_errors("Looking for where it breaks"):
        yield Progress("Following hidden states through the blocks", 0.0)
        blocks = drift(dense, pruned, text)
        for event in leave_one_in(dense, pruned, text):
            if isinstance(event, Progress):
                yield event
            else:
                parts.append(event)
    yield blocks, parts


def token_steps(run: Run, words: str) -> Generator[Progress | tuple[str, list[TokenChange]], None, None]:
    """Progress, and at the end the first token of a text, and of each other one how it changed."""
    dense = yield from _dense(run)
    compared_ids(dense.tokenizer, dense.model, words)
    models = yield from recover(run)
    with memory_errors("Comparing tokens"):
        yield compare_tokens(models.dense.tokenizer, models.dense.model, models.zeros, words)
