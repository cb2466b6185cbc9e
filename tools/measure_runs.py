"""Answer what a visitor first asks of the runs that ship with the app, by the app's own steps, and keep it with each.

That is the bundled zero-shot task, the sample text token by token, and what the models write behind the offered prompt.

    python tools/measure_runs.py            # what is missing of the shipped runs whose weights ship
    python tools/measure_runs.py --again    # all of it anew
    python tools/measure_runs.py --smollm2 SmolLM2-135M-Instruct.Q4_1.gguf

A run whose re-fitted weights are not stored is pruned again, once for all three: a minute for a bundled model, some
for SmolLM2. As many threads compute as made the run. It is told how far the masks agree; another machine may round
otherwise.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from components.jobs.work import Work  # noqa: E402
from components.places.quality.tasks.view import LIMIT, measure_tasks  # noqa: E402
from components.places.quality.tokens.view import SAMPLE, compare_text  # noqa: E402
from components.places.quality.writing.view import SEED, TEMPERATURE, TOKENS, write  # noqa: E402
from components.state.known_runs import bundled_runs, shipped_folder  # noqa: E402
from components.state.results import Results  # noqa: E402
from components.words.prompt import PROMPT  # noqa: E402
from eggs_core.evaluation.task_file import CLOZE  # noqa: E402
from eggs_core.models.source import WITHOUT_WEIGHTS  # noqa: E402
from eggs_core.progress import Progress  # noqa: E402
from eggs_core.runs.measured import KINDS, TASKS, WRITING, Measured, keep_measured, read_measured  # noqa: E402
from eggs_core.runs.measured import TOKENS as COMPARED  # noqa: E402
from eggs_core.runs.pruned_models import recover  # noqa: E402
from eggs_core.runs.run import Run  # noqa: E402
from eggs_core.speed.alternation import thread_count  # noqa: E402


def follow(work: Work) -> Iterator:
    """Do a work here and now."""
    value = None
    for value in work.steps(*work.args):
        yield value
    if work.keep:
        work.keep(value)


def agreement(run: Run) -> str:
    """Recover a run's pruned model, and say in how many places its masks are those of the run."""
    steps = recover(run)
    while True:
        try:
            print(f"\r{next(steps).text:70}", end="", flush=True)
        except StopIteration as end:
            found = end.value
            break
    places = sum(mask.numel() for mask in found.masks.values())
    equal = sum(int((mask.cpu() == run.mask(name)).sum()) for name, mask in found.masks.items())
    return f"{found.origin}, {equal / places:.2%} of the masks' places agree"


def measure(run: Run, folder: Path, public: Run, kinds: set[str], results: Results) -> None:
    """Ask the questions of some kinds of a run and keep the answers with `public`, the same run as it ships."""

    def keep(row: Measured) -> None:
        keep_measured(folder, public, row)

    print(f"\r{folder.name}: {agreement(run)}", flush=True)
    questions = {
        COMPARED: compare_text(follow, run, SAMPLE, keep),
        WRITING: write(follow, [run], PROMPT, TOKENS, TEMPERATURE, SEED, keep),
        TASKS: measure_tasks(follow, run, [CLOZE], LIMIT, results, keep),
    }
    for kind in kinds:
        for event in questions[kind]:
            if isinstance(event, Progress):
                print(f"\r{event.text:70}", end="", flush=True)
    print(f"\r{folder.name}: done{' ' * 60}", flush=True)


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument("--smollm2", metavar="FILE", help="SmolLM2's GGUF file")
    options, results = parser.parse_args(), Results()
    for run in bundled_runs():
        folder, model = shipped_folder(run), run.report["model"]
        source = options.smollm2 if model in WITHOUT_WEIGHTS else model
        if folder is None or not source or (model not in WITHOUT_WEIGHTS and options.smollm2):
            continue
        wanted = {kind for kind in KINDS if options.again or not read_measured(folder, run, kind)}
        if not wanted:
            continue
        config = run.config.changed(model=source)
        about = {"model": source, "config": config.to_dict()}
        here = Run({**run.report, **about}, run.packed_masks, run.packed_topn, run.permutations)
        with thread_count(run.report["latency"]["threads"]):  # sums of another number of threads round otherwise
            measure(here, folder, run, wanted, results)


if __name__ == "__main__":
    main()
