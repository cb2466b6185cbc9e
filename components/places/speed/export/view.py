"""How a run is exported as one file; no gradio here."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from components.jobs.work import Work
from eggs_core.packed.file import FILE
from eggs_core.progress import Progress
from eggs_core.runs.export import export_run
from eggs_core.runs.run import Run


def export_steps(run: Run, kind: str, place: Path) -> Iterator[Progress | Path]:
    """Progress, and at the end the exported run as one file inside `place`: the packed one, or all in a zip file."""
    name = f"{Path(run.report['model']).name}-{run.report['pattern'].replace(':', 'of')}-{run.report['method']}"
    folder = place / name
    yield from export_run(run, kind, folder)
    if kind == "packed":
        yield (folder / FILE).rename(folder.with_name(f"{name}.{FILE.partition('.')[2]}"))
    else:
        yield Path(shutil.make_archive(str(folder), "zip", place, name))


def export_work(run: Run, kind: str, place: Path) -> Work:
    """The work of exporting a run as "packed", "hf" or "masks"; its values are those of `export_steps`."""
    return Work(place, export_steps, (run, kind, place), run.report["model"], lasting=False)
