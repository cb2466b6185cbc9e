"""Latency & size in a real browser: bars against counted bytes, a measurement, a race, and the files to take along."""

import shutil
from pathlib import Path

import pytest
import torch
from actions import choose, data, open_tab, prune, small_calibration, unfold, wait_done
from transformers import AutoModelForCausalLM

from components.state.known_runs import first_run
from components.words.prompt import PROMPT
from eggs_core.models.gguf import read_header
from eggs_core.models.loading import load
from eggs_core.packed.file import load_packed, packed_layers
from eggs_core.packed.linear import PackedLinear
from eggs_core.runs.measurement import cases_of
from eggs_core.speed.layers import TOKENS

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
TRACES = "s => document.querySelector(s + ' .plot').data.map(t => ({name: t.name, x: t.x, y: t.y}))"
CELLS = "[...document.querySelectorAll('#layer-timings td[data-ratio]')].map(c => ({...c.dataset}))"
LANES = "[...document.querySelectorAll('#race .lane')].map(l => ({...l.dataset, text: l.querySelector('.generated').textContent}))"  # noqa: E501


def quick_run(page, method: str = "RIA") -> None:
    """A finished run of tiny-llama whose weights are at hand."""
    choose(page, pattern="2:4", method=method)
    small_calibration(page)
    prune(page)
    wait_done(page, "tiny-llama", "2:4")


def test_the_bars_add_up_to_the_counted_bytes(page):
    space = first_run().report["size"]
    open_tab(page, "Latency & size")
    bars = page.evaluate(TRACES, "#size-chart")
    dense, packed = (sum(t["x"][row] for t in bars) * 1e6 for row in (0, 1))
    assert dense == pytest.approx(space["dense_bytes"]) and packed == pytest.approx(space["packed_bytes"])
    by_name = {t["name"]: t["x"] for t in bars}
    assert by_name["kept values"][1] * 1e6 == pytest.approx(space["values"])
    assert by_name["positions of the kept"][1] * 1e6 == pytest.approx(space["positions"])
    assert by_name["embeddings"] == pytest.approx([space["embeddings"] / 1e6] * len(by_name["embeddings"]))
    assert space["formula"] in page.inner_text("#size-reading .formula")
    unfold(page, "#gpu-fold")
    assert "compute capability 8.0" in page.inner_text("#gpu")


def test_opening_measures_this_machine_and_says_what_ran(page):
    run = first_run()
    open_tab(page, "Latency & size")
    page.wait_for_selector("#measure-again:enabled")
    unfold(page, "#layers-fold")
    unfold(page, "#limits-fold")
    page.wait_for_function("document.querySelector('#roofline .plot')?.dataset.drawn > 0")
    cells = page.evaluate(CELLS)
    assert len(cells) == 3 * len(TOKENS) * len(cases_of(run))  # fp32, bf16 and the better of each
    for cell in cells:
        assert float(cell["ratio"]) == pytest.approx(float(cell["dense"]) / float(cell["packed"]), rel=1e-3)
    bars = page.evaluate(TRACES, "#size-chart")
    disk = sum(t["x"][2] for t in bars) * 1e6
    assert run.report["size"]["packed_bytes"] < disk < run.report["size"]["packed_bytes"] + 60_000  # plus the header
    assert "Measured on this machine" in page.inner_text("#latency-reading")
    assert "Kernel:" in page.inner_text("#layers-reading") and "GB/s" in page.inner_text("#limit-reading")
    decode = page.evaluate(TRACES, "#decode-chart")[0]
    assert decode["y"] == ["dense", "packed", "dense bf16", "packed bf16"] and min(decode["x"]) > 0
    limit, *points = page.evaluate(TRACES, "#roofline")
    measured = [p for p in points if p.get("name") and "measured" in p["name"]]
    assert [p["y"][0] for p in measured] == pytest.approx(decode["x"][:2])
    assert all(value > 0 for value in limit["y"])


STOP_AT_ONCE = """() => {
  const stop = document.querySelector('#race-stop');
  const started = document.querySelector('#race .lane .prompt').textContent.includes('onerror');
  if (started && !stop.disabled) stop.click();
  return started && !stop.disabled;
}"""  # a race of the bundled model lasts a second or two


STOP_MEASURING = """() => {
  const stop = document.querySelector('#measure-stop');
  const started = document.querySelector('#layers-reading .progress') && !stop.disabled;
  if (started) stop.click();
  return started;
}"""  # what is measured takes the whole machine: a click from outside may come after its end


@pytest.mark.slow
def test_a_measurement_can_be_stopped_and_taken_again(page):
    choose(page, pattern="1:4", method="Magnitude")
    small_calibration(page)
    prune(page)
    wait_done(page, "tiny-llama", "1:4")
    open_tab(page, "Latency & size")
    page.wait_for_function(STOP_MEASURING)
    page.wait_for_function("document.querySelector('#layers-reading')?.textContent.includes('starts anew')")
    page.wait_for_timeout(1500)  # nothing of the cancelled work arrives later
    page.wait_for_selector("#measure-again:enabled")
    page.wait_for_selector("#measure-stop:disabled", state="attached")
    assert not page.query_selector("#layers-reading .progress")
    page.click("#measure-again")
    page.wait_for_function("document.querySelector('#layers-reading')?.textContent.includes('Kernel:')")


@pytest.mark.slow
def test_a_race_ends_with_identical_text_and_another_can_be_stopped(page):
    quick_run(page)
    open_tab(page, "Latency & size")
    page.click("#race-start")
    page.wait_for_function("document.querySelector('#race-note')?.textContent.includes('Identical text')")
    assert "Tokens: native step." in page.inner_text("#race-note")
    lanes = page.evaluate(LANES)
    model = load("tiny-llama")  # whose context is shorter than prompt and 256 tokens: the race ends where it does
    room = str(model.model.config.max_position_embeddings - len(model.tokenizer(PROMPT).input_ids))
    assert [(lane["side"], lane["tokens"]) for lane in lanes] == [("dense", room), ("packed", room)]
    assert lanes[0]["text"] == lanes[1]["text"] and len(lanes[0]["text"]) > 100
    assert all(float(lane["rate"]) > 0 for lane in lanes)
    assert page.inner_text("#race .lane .prompt") == PROMPT
    page.wait_for_selector("#race-start:enabled")
    page.fill("#race-prompt textarea", "<img src=x onerror=alert(1)> the nation")
    page.click("#race-start")
    page.wait_for_function(STOP_AT_ONCE)
    page.wait_for_function("document.querySelector('#race-note')?.textContent.includes('Stopped')")
    page.wait_for_selector("#race-start:enabled")
    assert int(data(page, "#race .lane.packed")["tokens"]) < int(room)
    page.fill("#race-prompt textarea", " ")
    page.click("#race-start")
    page.wait_for_selector("#race-note .bad")
    assert "Type a few words" in page.inner_text("#race-note")


def exported(page, kind: str, ending: str, folder: Path) -> Path:
    """The file that a button gives."""
    page.click(f"#export-{kind}")
    link = page.locator(f"#export-file a[download$='{ending}'], #export-file a[href$='{ending}']").first
    link.wait_for()
    with page.expect_download() as download:
        link.click()
    download.value.save_as(folder / download.value.suggested_filename)
    return folder / download.value.suggested_filename


@pytest.mark.slow
def test_what_transformers_and_llama_cpp_open_can_be_taken_along(page, tmp_path):
    quick_run(page, "Wanda")
    open_tab(page, "Latency & size")
    assert "no smaller" in page.inner_text("#export-uses")
    file = exported(page, "gguf", ".gguf", tmp_path)
    assert file.name.endswith("-wanda-F16.gguf") and read_header(file).tensors
    file = exported(page, "packed-folder", ".zip", tmp_path)
    shutil.unpack_archive(file, tmp_path)
    assert dict(packed_layers(AutoModelForCausalLM.from_pretrained(tmp_path / file.stem)))


@pytest.mark.slow
def test_the_packed_file_opens_and_is_the_pruned_model(page, tmp_path):
    quick_run(page, "Wanda")
    open_tab(page, "Latency & size")
    file = exported(page, "packed", ".safetensors", tmp_path)
    assert file.name.endswith(".safetensors") and "2of4" in file.name
    packed, dense = load_packed(file), load("tiny-llama")
    layers = {n: m for n, m in packed.named_modules() if isinstance(m, PackedLinear)}
    assert set(layers) == {layer["name"] for layer in first_run().report["layers"]}
    for name, layer in layers.items():
        weight = layer.to_dense()
        kept = weight != 0
        assert kept.view(len(kept), -1, 4).sum(-1).max() <= 2
        assert torch.equal(weight[kept], dense.model.get_submodule(name).weight[kept].to(weight.dtype))
