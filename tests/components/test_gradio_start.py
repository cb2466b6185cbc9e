"""What the page needs before it answers, and what can come later."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LATER = ("torch", "transformers", "safetensors.torch", "scipy", "networkx", "datasets", "lm_eval")


def imported(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_page_is_built_without_what_takes_seconds_to_import():
    code = f"import sys, app; app.build_app(); print([name for name in {LATER!r} if name in sys.modules])"
    assert imported(code) == "[]"


def test_it_is_imported_when_it_is_used_by_many_threads_at_once():
    code = (
        "from concurrent.futures import ThreadPoolExecutor as Pool; from eggs_core.heavy import nn, torch\n"
        "found = list(Pool(8).map(lambda _: (torch.ones(2).sum().item(), nn.Linear), range(8)))\n"
        "import torch as real; print(set(found) == {(2.0, real.nn.Linear)})"
    )
    assert imported(code) == "True"


def test_gradio_writes_no_type_files_beside_its_components():
    code = "import app, gradio.component_meta as m; print(m.create_or_modify_pyi.__module__)"
    assert imported(code) == "components.gradio_start"


def test_an_import_of_gradio_that_came_first_stays_as_it_is():
    code = (
        "import sys, gradio; from components.gradio_start import without_type_files; before = [*sys.meta_path]; "
        "without_type_files(); print(sys.meta_path == before)"
    )
    assert imported(code) == "True"
