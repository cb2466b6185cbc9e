"""The API of the running app: its documentation's own examples, the schema, and refusals of what the page refuses."""

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

pytestmark = pytest.mark.timeout(1200)
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
ENDPOINTS = {"/models", "/prune", "/report", "/analyze_layer", "/evaluate"}
LONG = "a" * 100_000
HOSTILE = (
    "../../etc/passwd",
    "/etc/passwd",
    "<img src=x onerror=alert(1)>",
    "${alert(1)}",
    "a\0b",
    "\u202eterces",
    LONG,
    "",
    "a/b/c",
)
KNOWN = {"model": "tiny-llama", "pattern": "2:4", "method": "ria"}


def example(language: str, app_url: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.S)
    return found[1].replace("http://127.0.0.1:7860/", app_url)


@pytest.fixture(scope="module")
def client(app_url):
    return Client(app_url, verbose=False)


def refused(client, api_name: str, **values) -> str:
    with pytest.raises(AppError) as caught:
        client.predict(**values, api_name=api_name)
    said = str(caught.value)
    assert len(said) < 1500 and "Traceback" not in said and 'File "' not in said, said
    return said


def test_the_python_example_runs_as_it_stands(app_url):
    ran = subprocess.run(
        [sys.executable, "-c", example("python", app_url)], capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    assert "['tiny-llama', 'tiny-opt']" in ran.stdout and re.search(r"[0-9a-f]{16} \d+\.\d+ → \d+\.\d+", ran.stdout)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_runs_as_it_stands(app_url):
    ran = subprocess.run(["bash", "-c", example("bash", app_url)], capture_output=True, text=True, timeout=800)
    assert "event: complete" in ran.stdout and '"status": "done"' in ran.stdout, ran.stdout + ran.stderr


def test_five_endpoints_are_documented_and_nothing_else_is_open(app_url):
    with urllib.request.urlopen(f"{app_url}gradio_api/info", timeout=120) as answer:
        info = json.load(answer)
    assert set(info["named_endpoints"]) == ENDPOINTS and not info["unnamed_endpoints"]
    for name, endpoint in info["named_endpoints"].items():
        assert endpoint["description"], name
        assert all(p["type"] for p in endpoint["parameters"]), name
        assert f"`{name}`" in PAGE


def test_a_known_run_is_answered_with_the_key_that_report_takes(client):
    done = client.predict(**KNOWN, api_name="/prune")
    assert done["status"] == "done" and client.predict(key=done["key"], api_name="/report") == done["report"]
    layer = done["report"]["layers"][0]
    found = client.predict(key=done["key"], layer=layer["name"], api_name="/analyze_layer")
    assert found["measures"] == layer
    for point in found["expansion"]["inputs"]:
        assert point["certificate"] <= point["worst_found"] + 1e-9


@pytest.mark.parametrize("bad", HOSTILE, ids=lambda bad: ascii(bad[:20]))
def test_hostile_names_are_refused_in_one_sentence(client, bad):
    for name in ("model", "pattern", "method", "score"):
        refused(client, "/prune", **KNOWN | {name: bad})
    refused(client, "/report", key=bad)
    key = client.predict(**KNOWN, api_name="/prune")["key"]
    refused(client, "/analyze_layer", key=key, layer=bad)
    if bad:
        refused(client, "/evaluate", key=key, dataset=bad)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pattern": "5:4"}, "5:4"),
        ({"pattern": "4:4:4"}, "N:M"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "whole number"),
        ({"seed": True}, "whole number"),
        ({"seed": "0"}, "whole number"),
        ({"beta": 2.0, "selection": "degree"}, "β"),
        ({"beta": -0.1, "selection": "degree"}, "β"),
        ({"calibration_windows": 10**9}, "4096"),
        ({"calibration_length": 0}, "calibration length"),
        ({"diagonals": -1, "selection": "diagonal"}, "diagonals"),
        ({"model": 5}, "text"),
        ({"model": {"path": "/etc/passwd"}}, "text"),
        ({"model": ["tiny-llama"]}, "text"),
        ({"anew": "yes"}, "true or false"),
        ({"score": "obs"}, "obs"),
    ],
)
def test_what_the_page_refuses_the_api_refuses(client, values, words):
    assert words in refused(client, "/prune", **KNOWN | values)


def test_a_text_is_checked_before_work(client):
    key = client.predict(**KNOWN, api_name="/prune")["key"]
    assert "either" in refused(client, "/evaluate", key=key)
    assert "either" in refused(client, "/evaluate", key=key, text="words", dataset="a/b")
    assert "window" in refused(client, "/evaluate", key=key, text="too short")
    assert "characters" in refused(client, "/evaluate", key=key, text="a " * 1_500_000)
    assert "no layer" in refused(client, "/analyze_layer", key=key, layer="model")
    assert "no longer here" in refused(client, "/report", key="0123456789abcdef")


DEEP = b"[" * 100_000 + b"]" * 100_000
BODIES = {
    "half": b"{", "list": b"[]", "number": b'{"data": 5}', "many": b'{"data": [1, 2, 3, 4, 5]}', "bytes": b"\xff",
    "deep": b'{"data": [' + DEEP + b"]}", "all deep": DEEP, "nan": b'{"data": [NaN]}', "null": b'{"data": [null]}',
    "digits": b'{"data": [1' + b"0" * 6000 + b"]}", "surrogate": b'{"data": ["\\ud800"]}', "object": b'{"data": [{}]}',
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_damaged_request_is_refused_and_the_server_lives(app_url, body):
    request = urllib.request.Request(
        f"{app_url}gradio_api/call/report", data=body, headers={"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        with urllib.request.urlopen(request, timeout=120) as answer:
            event = json.load(answer)["event_id"]
        with urllib.request.urlopen(f"{app_url}gradio_api/call/report/{event}", timeout=120) as answer:
            told = answer.read()
        assert b"event: error" in told and b"Traceback" not in told
        raise urllib.error.HTTPError(request.full_url, 400, "refused in the stream", None, None)
    assert 400 <= caught.value.code < 600
    with urllib.request.urlopen(f"{app_url}gradio_api/info", timeout=120) as answer:
        assert answer.status == 200
