"""How a run is exported as one file; no gradio here."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from components.jobs.work import Work
from eggs_core.packed.names import FILE
from eggs_core.progress import Progress
from eggs_core.runs.export import GGUF, export_run, file_name
from eggs_core.runs.run import Run


def export_steps(run: Run, kind: str, place: Path) -> Iterator[Progress | Path]:
    """Progress, and at the end the exported run as one file inside `place`: the model itself, or all in a zip file.

    A "packed-folder" is what "packed" is, with what transformers opens it by.
    """
    name = file_name(run)
    folder = place / name
    yield from export_run(run, kind.removesuffix("-folder"), folder)
    if kind == "packed":
        yield (folder / FILE).rename(folder.with_name(f"{name}.{FILE.partition('.')[2]}"))
    elif kind in GGUF:
        yield next(folder.glob("*.gguf"))
    else:
        yield Path(shutil.make_archive(str(folder), "zip", place, name))


def export_work(run: Run, kind: str, place: Path) -> Work:
    """The work of exporting a run as `export_steps` does; its values are those of that."""
    return Work(place, export_steps, (run, kind, place), run.report["model"], lasting=False)
