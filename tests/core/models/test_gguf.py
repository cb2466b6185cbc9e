"""A GGUF file is converted once, if there is room, and stays known by its own bytes; split files are one model."""

import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from gguf_files import write_gguf

from eggs_core import device
from eggs_core.bos import EVERY, has_bos
from eggs_core.config import make_config
from eggs_core.converted import converted_folder, split_files
from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.files import DiskFull
from eggs_core.models import gguf
from eggs_core.models.loading import load, outline
from eggs_core.text.windows import has_beginning

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EGGS_CONVERTED", str(tmp_path / "converted"))
    return tmp_path / "converted"


@pytest.fixture
def file(tmp_path, bundled):
    write_gguf(tmp_path / "tiny.gguf", bundled())
    return tmp_path / "tiny.gguf"


@pytest.fixture
def parts(tmp_path, bundled):
    write_gguf(tmp_path / "split.gguf", bundled(), tensors_a_file=15)
    return sorted(tmp_path.glob("split-*.gguf"))


def unread(*_args):
    raise AssertionError("the GGUF file was read again")


def same(a, b) -> bool:
    theirs = b.model.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in a.model.state_dict().items())


def test_it_is_converted_once_and_known_by_its_own_bytes(file, folder, monkeypatch):
    first = load(str(file), CPU)
    monkeypatch.setattr(gguf, "_loaded", unread)
    again = load(str(file), CPU)
    assert same(first, again)
    assert again.files.paths == (file,)
    assert again.fingerprint == first.fingerprint
    assert again.earlier_fingerprints == first.earlier_fingerprints
    assert [place.name for place in folder.iterdir() if place.is_dir()] == [converted_folder(file).name]
    assert outline(str(file)).parameters == first.parameters


def test_a_changed_file_is_converted_anew(file, folder):
    before, first = converted_folder(file), load(str(file), CPU).fingerprint
    data = bytearray(file.read_bytes())
    data[-8] ^= 1
    file.write_bytes(data)
    assert load(str(file), CPU).fingerprint != first
    assert converted_folder(file).is_dir()
    assert not before.exists()


def test_split_files_are_one_model(file, parts):
    assert len(parts) > 2
    whole, split = load(str(file), CPU), load(str(parts[0]), CPU)
    assert same(whole, split)
    assert split.files.paths == tuple(parts)
    assert split.fingerprint != whole.fingerprint
    assert split_files(parts[0]) == parts


def test_a_split_model_is_given_by_its_first_file_and_whole(parts):
    with pytest.raises(EggsError, match=f"{parts[1].name} is a part of a model; give its first file, {parts[0].name}"):
        load(str(parts[1]), CPU)
    parts[-1].unlink()
    with pytest.raises(EggsError, match=f"lacks its file {parts[-1].name}"):
        load(str(parts[0]), CPU)


def test_every_part_counts(parts):
    first = load(str(parts[0]), CPU).fingerprint
    data = bytearray(parts[1].read_bytes())
    data[-8] ^= 1
    parts[1].write_bytes(data)
    assert load(str(parts[0]), CPU).fingerprint != first


def test_memory_and_disk_are_asked_before_it_grows(file, bundled, monkeypatch):
    monkeypatch.setattr(gguf, "_loaded", unread)
    grown = 4 * bundled().parameters
    monkeypatch.setattr(device, "free_memory", lambda _device: int(grown * gguf.PEAK) - 1)
    with pytest.raises(OutOfMemory, match=r"Opening tiny\.gguf, whose weights grow to fp32, needs some 20\.7 MB"):
        load(str(file), CPU)
    monkeypatch.setattr(device, "free_memory", lambda _device: 1 << 40)
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=grown - 1))
    with pytest.raises(DiskFull, match=r"Converting tiny\.gguf to safetensors needs 13\.8 MB"):
        load(str(file), CPU)


@pytest.mark.parametrize("size", [8, 30, 200, 40_000])
def test_a_cut_file_is_refused(file, size):
    os.truncate(file, size)
    with pytest.raises(EggsError, match="damaged or only partly downloaded"):
        load(str(file), CPU)


def test_its_bos_is_known_once_it_was_converted(tmp_path, bundled):
    file = tmp_path / "begins.gguf"
    write_gguf(file, bundled(), bos=0)
    assert has_bos(str(file)) is None
    assert has_beginning(load(str(file), CPU).tokenizer)
    assert has_bos(str(file)) is True
    assert make_config(str(file), "2:4").bos == EVERY
