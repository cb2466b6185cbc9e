"""What all tests share: offline, seeded, tiny models, and a browser that is required only where it is asked for."""

import importlib.util
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["EGGS_STORE"] = tempfile.mkdtemp(prefix="eggs-store-")  # never the user's own runs
os.environ["EGGS_CONVERTED"] = tempfile.mkdtemp(prefix="eggs-converted-")
os.environ["EGGS_SWEEPS"] = tempfile.mkdtemp(prefix="eggs-sweeps-")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pytest  # noqa: E402
import torch  # noqa: E402
from transformers import CONFIG_MAPPING, AutoModelForCausalLM  # noqa: E402

from benchmarks.browser import chromium_path  # noqa: E402
from eggs_core.models.loading import load  # noqa: E402
from eggs_core.models.source import BUNDLED  # noqa: E402

CHROMIUM = chromium_path()


def _browser_problem() -> str | None:
    if CHROMIUM is None:
        return "chromium is not installed"
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Go on with the other tests of a file when one of them has ended its process."""
    from whole_files import WholeFiles

    return WholeFiles(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run; with EGGS_REQUIRE_BROWSER=1 a missing browser is a failure."""
    if item.get_closest_marker("ui") and (problem := _browser_problem()):
        if os.environ.get("EGGS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"browser tests are required, but {problem}", pytrace=False)
        pytest.skip(problem)
    if item.get_closest_marker("slow") and os.environ.get("EGGS_SLOW") != "1":
        pytest.skip("it takes long: EGGS_SLOW=1 asks for it, as .ci/run does")
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def pytest_collection_finish(session: pytest.Session) -> None:
    """With EGGS_REQUIRE_BROWSER=1, a run of all tests that found none of the browser's fails."""
    everything = session.config.args in (["tests"], [str(ROOT / "tests")])
    required = everything and os.environ.get("EGGS_REQUIRE_BROWSER") == "1"
    if required and not any(item.get_closest_marker("ui") for item in session.items):
        raise pytest.UsageError("browser tests are required, but none were found")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run a test of tiny matrices on one thread: more of them only wait for each other, the longer the busier."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def result():
    """Run a generator to its end and give what it returns."""

    def run(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    return run


class _Bundled(dict):
    """The bundled models by name, each with a checksum of what it was when it was loaded."""

    def __call__(self, name: str = "tiny-llama"):
        """The model; tests must not change it."""
        assert name in BUNDLED
        if name not in self:
            loaded = load(name, torch.device("cpu"))
            self[name] = loaded, _checksum(loaded.model)
        return self[name][0]

    def changed(self) -> list[str]:
        """The names of models that are no longer what they were; they are loaded anew when they are next asked for."""
        names = [name for name, (loaded, before) in self.items() if _checksum(loaded.model) != before]
        for name in names:
            del self[name]
        return names


def _checksum(model: torch.nn.Module) -> int:
    found = 0
    for name, values in model.named_parameters():
        raw = values.detach().contiguous().view(torch.uint8).numpy()
        found = zlib.crc32(raw, zlib.crc32(f"{name} {values.dtype}".encode(), found))
    return found


@pytest.fixture(scope="session")
def bundled():
    """Load a bundled model by name, once per session."""
    return _Bundled()


@pytest.fixture(autouse=True)
def _bundled_models_stay(request):
    """The test that changes a bundled model fails, not one that shares it later."""
    shared = request.getfixturevalue("bundled") if "bundled" in request.fixturenames else None
    yield
    if shared and (names := shared.changed()):
        pytest.fail(f"this test changed what others share: {', '.join(names)}")


_SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_OWN_NAMES = {
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64, "n_positions": 64},
    "bloom": {"n_layer": 2, "n_head": 4},
    "gpt_neox": {"rotary_pct": 0.5},
    "falcon": {"new_decoder_architecture": False},
}


@pytest.fixture
def tiny_model():
    """Build a random causal LM of any architecture: 2 blocks, width 32, 64 tokens; `changes` override its config."""

    def build(kind: str, **changes):
        own = _OWN_NAMES.get(kind, {})
        if kind in ("gpt2", "bloom", "falcon", "opt", "gpt_neox"):
            base = {k: v for k, v in _SMALL.items() if k not in ("num_key_value_heads", "head_dim")}
        else:
            base = _SMALL
        torch.manual_seed(0)
        config = CONFIG_MAPPING[kind](**{**base, **own, **changes})
        return AutoModelForCausalLM.from_config(config).eval()

    return build


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory, bundled) -> Path:
    """A folder with random Llama weights in fp16, three blocks of width 32, and the bundled models' tokenizer."""
    torch.manual_seed(0)
    sizes = {**_SMALL, "vocab_size": 4096, "num_hidden_layers": 3, "max_position_embeddings": 128}
    folder = tmp_path_factory.mktemp("models") / "small"
    AutoModelForCausalLM.from_config(CONFIG_MAPPING["llama"](**sizes)).half().save_pretrained(folder)
    bundled("tiny-llama").tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser's executable."""
    assert CHROMIUM is not None
    return CHROMIUM
