"""The run of a real model that ships: small files, its public name, and one sentence where its weights are needed."""

import pytest

from components.jobs.prune import known_run
from components.state.known_runs import bundled_runs
from eggs_core.assets import ASSETS
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.loading import load
from eggs_core.models.source import WITHOUT_WEIGHTS
from eggs_core.runs.measured import KINDS

[(NAME, INSTEAD)] = WITHOUT_WEIGHTS.items()
FOLDER = ASSETS / "runs" / "smollm2-135m-2of4-eggs-ptp-plus"


@pytest.fixture
def shipped():
    [found] = [run for run in bundled_runs() if run.report["model"] == NAME]
    return found


def test_its_files_fit_where_large_files_are_refused():
    sizes = [file.stat().st_size for file in FOLDER.iterdir()]
    assert len(sizes) == 3 + len(KINDS) and max(sizes) < 10_000_000 and sum(sizes) < 19_000_000


def test_all_of_it_is_there_under_the_models_public_name(shipped):
    report = shipped.report
    assert len(report["layers"]) == 210 and shipped.has_topn and report["dequantised"] == "Q4_1"
    assert shipped.key == shipped.config.key() and report["latency"]
    assert all(0 < layer["sigma2"] < 1 for layer in report["layers"])
    name = report["layers"][0]["name"]
    assert shipped.mask(name).sum() == shipped.topn_mask(name).sum() == shipped.mask(name).numel() // 2
    text = (FOLDER / "report.json").read_text(encoding="utf-8")
    assert not any(f'"{place}/' in text for place in ("/root", "/home", "/tmp", "/work"))


def test_it_is_not_taken_for_a_run_of_other_weights(shipped):
    assert known_run(shipped.config) is shipped
    assert known_run(make_config(INSTEAD, "2:4", shipped.config.method)) is None


def test_what_needs_its_weights_says_so():
    with pytest.raises(EggsError, match=f"do not ship with the app; prune {INSTEAD} instead"):
        load(NAME)
