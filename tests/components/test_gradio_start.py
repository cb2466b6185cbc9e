"""What the page needs before it answers, and what can come later."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LATER = (
    "transformers.modeling_utils",
    "transformers.core_model_loading",
    "torch.distributed.tensor",
    "datasets",
    "lm_eval",
)


def imported(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_takes_seconds_to_import_waits_until_a_model_is_opened():
    assert imported(f"import sys, app; print([name for name in {LATER!r} if name in sys.modules])") == "[]"


def test_gradio_writes_no_type_files_beside_its_components():
    code = "import app, gradio.component_meta as m; print(m.create_or_modify_pyi.__module__)"
    assert imported(code) == "components.gradio_start"


def test_an_import_of_gradio_that_came_first_stays_as_it_is():
    code = (
        "import sys, gradio; from components.gradio_start import without_type_files; before = [*sys.meta_path]; "
        "without_type_files(); print(sys.meta_path == before)"
    )
    assert imported(code) == "True"
