"""What the Hub and the way to it raise, as one sentence each, for models and for data sets."""

import httpx
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)

from eggs_core.hub import causes, hub_error, refusal
from eggs_core.limits import HOSTED


def answered(kind: type, status: int = 404) -> Exception:
    request = httpx.Request("GET", "https://hub.example/owner/name/model.safetensors")
    return kind("no", response=httpx.Response(status, request=request))


SENTENCES = [
    (answered(GatedRepoError, 403), "The model m is gated: accept its licence on the Hub and set HF_TOKEN; take t."),
    (answered(RepositoryNotFoundError), "The Hub has no public model 'm'; check the spelling (owner/model); take t."),
    (HFValidationError("a b"), "'m' is neither a model folder nor a valid Hub id such as owner/model; take t."),
    (OSError(28, "No space left"), "The disk is full, so m could not be downloaded; free some space and try again."),
    (answered(HfHubHTTPError, 503), "The Hub refused to hand out m; try again later; take t."),
    *[
        (error, "The Hugging Face Hub cannot be reached, so 'm' cannot be downloaded; take t.")
        for error in (
            LocalEntryNotFoundError("not on disk"),
            OfflineModeIsEnabled("offline"),
            ConnectionError("reset"),
            httpx.ConnectTimeout("too late"),
            ValueError("We couldn't connect to 'https://hub.example'"),
        )
    ],
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_each_error_is_one_sentence(error, sentence):
    assert str(hub_error(error, "model", "m", "take t")) == sentence


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_what_led_to_an_error_counts(error, sentence):
    outer = ValueError("wrapped by some library")
    outer.__cause__ = RuntimeError("and once more")
    outer.__cause__.__context__ = error
    assert str(hub_error(outer, "model", "m", "take t")) == sentence


def test_a_data_set_is_called_so():
    assert "no public dataset 'd'" in str(hub_error(answered(RepositoryNotFoundError), "dataset", "d", "take t"))


def test_on_a_public_server_nobody_is_asked_for_a_token(monkeypatch):
    monkeypatch.setenv(HOSTED, "1")
    found = str(hub_error(answered(GatedRepoError, 403), "model", "m", "take t"))
    assert found == "The model m is gated; choose one that is open to all."


@pytest.mark.parametrize("error", [ValueError("x"), KeyError(), MemoryError(), answered(RemoteEntryNotFoundError)])
def test_what_comes_from_elsewhere_has_no_sentence_here(error):
    assert hub_error(error, "model", "m", "take t") is None


def test_only_answers_of_the_hub_are_refusals():
    assert refusal(ConnectionError("reset"), "model", "m") is None
    assert str(refusal(answered(RepositoryNotFoundError), "model", "m")).endswith("check the spelling (owner/model).")


def test_causes_that_run_in_a_circle_end():
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert len([*causes(one)]) == 10
