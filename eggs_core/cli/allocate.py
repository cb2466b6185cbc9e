"""`allocate`: the plan of least predicted loss within a budget, into a file that `prune --plan` reads."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eggs_core.allocation.table import BUDGETS, CANDIDATES
from eggs_core.cli.options import (
    Bos,
    CalibrationDataset,
    CalibrationFile,
    CalibrationLength,
    CalibrationWindows,
    Json,
    MethodName,
    ModelName,
    Seed,
    calibration_name,
    folder,
)
from eggs_core.cli.output import end_progress, quiet, show_progress
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.registry import DEFAULT_METHOD

_OF = ", ".join(f"{name} ({words})" for name, words in BUDGETS.items())

if TYPE_CHECKING:  # torch takes seconds to import; `--help` and a wrong option do not need it
    from eggs_core.allocation.allocate import Allocated
    from eggs_core.text.sources import Text


def allocate(
    out: Annotated[Path, typer.Option(parser=folder, metavar="PATH", help="The plan's file, YAML for prune --plan.")],
    budget: Annotated[float, typer.Option(help="A share of what the layers take dense, such as 0.54.")],
    model: ModelName = "tiny-llama",
    by: Annotated[str, typer.Option(help=f"What the budget is of: {_OF}.")] = "bytes",
    candidates: Annotated[str, typer.Option(help="Patterns that a layer may get, and dense.")] = ",".join(CANDIDATES),
    method: MethodName = DEFAULT_METHOD,
    seed: Seed = 0,
    calibration_file: CalibrationFile = None,
    calibration_dataset: CalibrationDataset = None,
    calibration_windows: CalibrationWindows = 64,
    calibration_length: CalibrationLength = 256,
    bos: Bos = None,
    as_json: Json = False,
    **choices: Any,
) -> None:
    """Find each layer's pattern within a budget, and save the plan."""
    texts: dict[str, Text] = {}
    config = make_config(
        model,
        "2:4",  # a plan gives each layer its own
        method,
        seed=seed,
        calibration=calibration_name(texts, calibration_file, calibration_dataset),
        calibration_windows=calibration_windows,
        calibration_length=calibration_length,
        bos=bos,
        **choices,
    )
    if out.is_dir():
        raise EggsError(f"{out} is a folder; --out names the file that the plan goes to.")
    from eggs_core.allocation.allocate import allocate as find
    from eggs_core.allocation.allocate import check_budget, parse_candidates
    from eggs_core.allocation.plan_file import in_words, plan_yaml
    from eggs_core.files import check_writable, write_text
    from eggs_core.progress import Progress

    names = candidates.split(",")
    parse_candidates(names)
    check_budget(budget, by)
    check_writable(out.parent)
    quiet()
    for event in find(config, budget, names, by=by, texts=texts):
        if isinstance(event, Progress):
            show_progress(event)
            continue
        end_progress()
        write_text(out, plan_yaml(event, budget, by))
        typer.echo(json.dumps(_plain(event), indent=1) if as_json else "\n".join(in_words(event, budget, by)))
    if not as_json:
        typer.echo(f"saved in {out}")


def _plain(allocated: "Allocated") -> dict[str, Any]:
    """The plan, and the table that it was chosen from, as plain values."""
    from eggs_core.rules import choice_text

    plan, found = allocated.plan, allocated.sensitivities
    return {
        "pattern": str(plan.pattern),
        "layers": list(plan.rules),
        "predicted": asdict(plan.predicted),
        "dense": asdict(plan.dense),
        "gap": plan.gap,
        "patterns": {name: choice_text(choice) for name, choice in plan.patterns.items()},
        "sensitivities": {
            row.name: {choice_text(choice): asdict(cell) for choice, cell in row.cells.items()} for row in found.layers
        },
    }
