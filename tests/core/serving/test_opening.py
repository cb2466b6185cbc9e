"""What the name of a run can mean: a folder, a key, one that ships, an export, a model."""

import shutil

import pytest

from eggs_core.assets import ASSETS
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.packed.file import packed_layers
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.runs.export import export_run
from eggs_core.runs.run import load_run
from eggs_core.runs.store import STORE
from eggs_core.serving.opening import open_writer
from eggs_core.serving.settings import Settings

pytestmark = pytest.mark.usefixtures("one_thread")
NAME = "tiny-llama-2of4-eggs-ptp"
SHIPPED = ASSETS / "runs" / NAME
PROMPT = "My fellow citizens, the state of the"
QUICK = {"calibration_windows": 4, "calibration_length": 64, "evaluation_windows": 4, "evaluation_length": 64}


def text_of(writer) -> str:
    return "".join(writer.answer(writer.continued(PROMPT), Settings(20, 0)))


@pytest.fixture(scope="module")
def expected(result) -> str:
    """What the shipped run's packed model writes."""
    return text_of(result(open_writer(NAME)))


def test_a_shipped_run_by_its_name_and_key_and_a_folder(tmp_path, result, expected):
    shutil.copytree(SHIPPED, tmp_path / "run")
    for name in (load_run(SHIPPED).key, str(tmp_path / "run")):
        writer = result(open_writer(name))
        assert (writer.name, writer.form, writer.path) == (NAME, "packed 2:4, fp32", "native step")
        assert len(list(packed_layers(writer.model))) == 42
        assert text_of(writer) == expected


def test_a_run_in_the_store_by_its_key(result, expected):
    run = load_run(SHIPPED)
    run.report["key"] = "0123456789abcdef"
    STORE.put(run)
    try:
        assert text_of(result(open_writer("0123456789abcdef"))) == expected
    finally:
        STORE.remove("0123456789abcdef")


def test_the_dense_model_of_a_run_is_the_one_before_pruning(result, bundled, expected):
    dense = result(open_writer(NAME, dense=True))
    assert (dense.name, dense.form) == ("tiny-llama", "dense, fp32")
    assert text_of(dense) == text_of(result(open_writer("tiny-llama"))) != expected


@pytest.mark.parametrize("kind", ["packed", "hf"])
def test_exports_write_what_the_run_writes(tmp_path, result, expected, kind):
    list(export_run(load_run(SHIPPED), kind, tmp_path / "out"))
    writer = result(open_writer(str(tmp_path / "out")))
    assert text_of(writer) == expected
    if kind == "packed":
        assert (writer.name, writer.form) == (NAME, "packed 2:4, fp32")
        with pytest.raises(EggsError, match="holds no dense weights"):
            result(open_writer(str(tmp_path / "out"), dense=True))
    else:
        assert (writer.name, writer.form) == ("out", "dense, fp32")


def test_a_streamed_run_is_opened_from_its_pruned_checkpoint(tmp_path, result, monkeypatch):
    config = make_config("tiny-llama", "2:4", "magnitude", **QUICK)
    events = execute(config, stream=True, out=tmp_path / "run")
    run = next(event.run for event in events if isinstance(event, Finished))
    monkeypatch.setattr("eggs_core.serving.opening.recover", lambda *_: pytest.fail("nothing is pruned again"))
    writer = result(open_writer(str(tmp_path / "run")))
    assert writer.form == "packed 2:4, fp32" and len(list(packed_layers(writer.model))) == len(run.report["layers"])
    monkeypatch.undo()
    assert text_of(writer) == text_of(result(open_writer("tiny-llama-2of4-magnitude")))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/at/all", "There is no folder"),
        ("f" * 16, "There is no run ffffffffffffffff in the store"),
        ("", "Choose a model"),
        ("a\0b", "Choose a model"),
        ("no-such-run", "no-such-run"),
        ("x" * 5000, "Choose a model"),
    ],
)
def test_what_is_nothing_is_one_sentence(tmp_path, monkeypatch, result, name, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EggsError, match=said):
        result(open_writer(name))


def test_a_damaged_run_or_packed_file_says_so(tmp_path, result):
    shutil.copytree(SHIPPED, tmp_path / "run")
    (tmp_path / "run" / "masks.safetensors").write_bytes(b"nothing")
    with pytest.raises(EggsError, match="damaged"):
        result(open_writer(str(tmp_path / "run")))
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "model.eggs.safetensors").write_bytes(b"nothing")
    with pytest.raises(EggsError, match="damaged"):
        result(open_writer(str(tmp_path / "packed")))
