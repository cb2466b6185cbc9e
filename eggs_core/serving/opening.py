"""What the name of a run can mean, and the model behind it, ready to answer."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eggs_core.assets import ASSETS
from eggs_core.errors import EggsError
from eggs_core.heavy import transformers
from eggs_core.models.dense_models import ModelCache
from eggs_core.models.fingerprints import check_same_weights
from eggs_core.models.loading import load
from eggs_core.models.opening_errors import explained
from eggs_core.packed.file import FILE, load_packed, packed_info, packed_layers
from eggs_core.packed.kernel.library import DTYPE_NAMES
from eggs_core.packed.model import packed_copy
from eggs_core.progress import Progress, memory_errors
from eggs_core.runs.export import pruned_checkpoint
from eggs_core.runs.folder import has_run
from eggs_core.runs.model_card import shown_name
from eggs_core.runs.patterns import pattern_words
from eggs_core.runs.pruned_models import WeightCache, recover
from eggs_core.runs.run import Run, load_run, read_report
from eggs_core.runs.store import STORE
from eggs_core.serving.writer import Writer

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHIPPED = ASSETS / "runs"
KEY = re.compile(r"[0-9a-f]{16}")


def open_writer(name: str, dense: bool = False) -> Generator[Progress, None, Writer]:
    """Yield progress and return the model that a name means; `dense` is the one from before pruning.

    The name is a run's folder, its key, or that of one that ships with the app; a packed export; or any model that
    `load` takes, such as another export. Raises EggsError for what is none of these, or cannot be opened.
    """
    with memory_errors("Opening the model"):
        if (run := _run_of(name)) is not None:
            return (yield from _of_run(run, dense))
        if (file := _packed_file(name)) is not None:
            if dense:
                raise EggsError("A packed export holds no dense weights; name the model itself, without --dense.")
            yield Progress(f"Opening {file.parent.name}", 0.0)
            return _of_packed(file)
        yield Progress(f"Loading {name}", 0.0)
        loaded = load(name)
        return _writer(shown_name(loaded.name), "dense", loaded.model, loaded.tokenizer)


def _writer(name: str, form: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Writer:
    return Writer(name, f"{form}, {DTYPE_NAMES.get(model.dtype, str(model.dtype))}", model, tokenizer)


def _run_of(name: str) -> Run | None:
    """The finished run that a name means, if it means one; raises EggsError for a damaged one."""
    if name and has_run(Path(name)):
        return load_run(Path(name))
    if re.fullmatch(r"[\w-]+", name) and has_run(SHIPPED / name):
        return load_run(SHIPPED / name)
    if not KEY.fullmatch(name):
        return None
    shipped = (folder for folder in SHIPPED.glob("*/") if has_run(folder) and read_report(folder)["key"] == name)
    folder = next(shipped, None)
    run = load_run(folder) if folder else STORE.get(name)
    if run is None:
        raise EggsError(f"There is no run {name} in the store; the Runs tab lists those that are.")
    return run


def _of_run(run: Run, dense: bool) -> Generator[Progress, None, Writer]:
    report = run.report
    if dense:
        yield Progress(f"Loading {report['model']}", 0.0)
        loaded = load(report["model"])
        check_same_weights(report, loaded)
        return _writer(shown_name(report["model"]), "dense", loaded.model, loaded.tokenizer)
    if checkpoint := pruned_checkpoint(run):
        yield Progress(f"Loading {checkpoint.name}", 0.0)
        pruned = load(str(checkpoint))
        masks = {name: run.mask(name) for name in run.patterns}
        model, tokenizer = packed_copy(pruned.model, masks, run.patterns, run.permutations), pruned.tokenizer
    else:  # the caches are its own: what only helped to make the packed model goes
        models = yield from recover(run, WeightCache(), ModelCache())
        model, tokenizer = models.packed, models.dense.tokenizer
    name = _name(report["model"], report["pattern"], report["method"])
    return _writer(name, f"packed {pattern_words(report)}", model, tokenizer)


def _name(model: str, pattern: str, method: str) -> str:
    """What a pruned model is called, such as tiny-llama-2of4-ria."""
    return f"{shown_name(model)}-{pattern.replace(':', 'of')}-{method}"


def _packed_file(name: str) -> Path | None:
    """The packed file that a path means, if it means one: itself, or the one in its folder."""
    path = os.path.expanduser(name)
    found = path if path.endswith(".safetensors") else os.path.join(path, FILE)
    return Path(found) if name and os.path.isfile(found) else None  # which takes any name


def _of_packed(file: Path) -> Writer:
    """A packed export, with the tokenizer that lies beside its file; its name is that of the run, if it says so."""
    model = load_packed(file)
    with explained(file.parent.name):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(file.parent), local_files_only=True, trust_remote_code=False
        )
    (pattern, _), *others = Counter(str(layer.pattern) for _, layer in packed_layers(model)).most_common()
    info: Any = packed_info(file)["info"]
    about = [info.get(part) for part in ("model", "pattern", "method")]
    name = _name(*about) if all(isinstance(part, str) for part in about) else file.parent.name
    return _writer(name, f"packed {pattern}{' and others' if others else ''}", model, tokenizer)
