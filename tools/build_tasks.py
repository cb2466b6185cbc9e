"""Answer the bundled zero-shot task with every run that ships with the app, dense and pruned: it takes minutes.

python tools/build_tasks.py
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from components.places.quality.tasks.view import DENSE, LIMIT, PRUNED, SHIPPED  # noqa: E402
from components.state.known_runs import bundled_runs  # noqa: E402
from components.state.results import model_id, run_id  # noqa: E402
from eggs_core.evaluation.task_file import CLOZE  # noqa: E402
from eggs_core.runs.later_measures import task_steps  # noqa: E402


def main() -> None:
    """Compute and save the scores of all shipped runs, and of each dense model once."""
    rows: dict[tuple, dict] = {}
    for run in bundled_runs():
        for side, kind, subject in (("dense", DENSE, model_id(run)), ("pruned", PRUNED, run_id(run))):
            if (kind, subject) in rows:
                continue
            *_, scores = task_steps(run, side, (CLOZE,), LIMIT)
            score = scores[CLOZE]
            rows[kind, subject] = {"of": subject, "kind": kind, "task": CLOZE, "limit": LIMIT, "score": score.to_dict()}
            print(f"{run.report['model']} {run.report['method']}, {side}: {score.acc:.1%}", flush=True)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows.values())
    SHIPPED.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
