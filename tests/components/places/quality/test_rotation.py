"""The rotation panel: what is kept before and after, and runs that have none."""

import pytest

from components.places.quality.rotation.figures import kept_chart
from components.places.quality.rotation.view import kept_shares
from components.places.quality.rotation.words import rotation_reading
from eggs_core.runs.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(make_run) -> Run:
    made = make_run("wanda")
    names = [layer["name"] for layer in made.report["layers"]]
    shares = {name: 0.1 * (1 + number % 2) for number, name in enumerate(names)}
    said = {"steps": 3, "before": shares, "after": {name: share / 2 for name, share in shares.items()}}
    return Run({**made.report, "rotation": {**said, "added_bytes": 2000}}, made.packed_masks)


def test_each_projection_has_what_is_kept_before_and_after(run):
    shares = kept_shares(run)
    assert {share.projection for share in shares} == {x["projection"].split(".")[-1] for x in run.report["layers"]}
    assert sum(share.layers for share in shares) == len(run.report["layers"])
    before = run.report["rotation"]["before"]
    mean = sum(share.layers * share.before for share in shares) / len(before)
    assert mean == pytest.approx(1 - sum(before.values()) / len(before))
    assert all(1 - share.after == pytest.approx((1 - share.before) / 2) for share in shares)
    figure = kept_chart(shares, "Wanda")
    assert [trace.name for trace in figure.data[-2:]] == ["before the rotation", "after the rotation"]
    assert list(figure.data[-1].x) == [100 * share.after for share in shares]


def test_the_sentence_says_what_became_of_it(run, make_run):
    said = rotation_reading(run)
    assert "The model was rotated" in said and "2.0 kB more" in said
    unturned = Run({**run.report, "rotation": {"why": "it has experts"}}, {})
    assert "without a rotation, as it has experts." in rotation_reading(unturned) and not kept_shares(unturned)
    assert "was not rotated" in rotation_reading(make_run("wanda")) and "was not rotated" in rotation_reading(None)
    assert kept_shares(make_run("wanda")) == []
