"""Runs and folders of which attacks on the run store are made; imports little, as killed processes import it too."""

import os
from pathlib import Path

import torch
from made_up import made_up_run

from eggs_core.masks.bits import pack_bits
from eggs_core.runs.run import Run, save_run
from eggs_core.runs.store import RunStore

KEY, OTHER, THIRD = "0123456789abcdef", "fedcba9876543210", "00000000deadbeef"
LONG_AGO = 1_000_000  # Unix time


def some_run(key: str = KEY, version: int = 0, rows: int = 8) -> Run:
    """A run in which report, masks, top-N masks and order all tell its version, from 0 to 3."""
    run = made_up_run(key, "1:4", {"a.b": (rows, 16)}, seed=version)
    masks = {"a.b": pack_bits((torch.arange(16) % 4 == version).expand(rows, 16))}
    return Run(run.report, masks, dict(masks), {"a.b": torch.arange(16).roll(version)})


def version_of(run: Run) -> int:
    """The version that all parts of a run agree on."""
    version = run.report["seed"]
    expected = some_run(run.key, version, run.report["layers"][0]["shape"][0])
    assert torch.equal(run.packed_masks["a.b"], expected.packed_masks["a.b"])
    assert torch.equal(run.packed_topn["a.b"], expected.packed_topn["a.b"])
    assert torch.equal(run.permutations["a.b"], expected.permutations["a.b"])
    return version


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """All that lies in a folder: a file's bytes, where a link leads, None for a folder."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


def age(folder: Path, when: float = LONG_AGO) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (when, when), follow_symlinks=False)


def foreign(place: Path, **files: str) -> Path:
    place.mkdir(parents=True)
    for name, text in ({"mine_txt": "years of work"} | files).items():
        (place / name.replace("_", ".")).write_text(text)
    age(place)
    return place


def evict(store: Path, keys: tuple[str, ...] = (OTHER, THIRD)) -> None:
    """Put runs into a store in which there is room for none."""
    for key in keys:
        RunStore(store, most_bytes=1).put(some_run(key))


def unmarked(run: Run, folder: Path) -> Path:
    """A run as stores without marks kept it."""
    save_run(run, folder)
    return folder
