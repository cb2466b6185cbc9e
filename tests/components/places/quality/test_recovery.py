"""The recovery panel's values: the job, its curve, and the table that keeps both perplexities apart."""

import pytest

from components.places.quality.recovery.figures import recovery_curve
from components.places.quality.recovery.view import Recovering, before_recovery, curve_of, recover, recovery_rows
from components.places.quality.recovery.words import recovery_reading, recovery_table
from components.state.workspace import Workspace
from components.words.labels import method_in, run_label
from eggs_core.errors import EggsError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def workspace(make_run) -> Workspace:
    workspace = Workspace()
    workspace.show(make_run("wanda"))
    workspace.show(make_run("ria"))
    return workspace


def test_a_run_recovers_beside_itself(micro, store, workspace, follow):
    run = workspace.shown
    assert [row.recovered for row in recovery_rows(workspace)] == [None, None] and curve_of(workspace) == ()
    assert "Recover trains" in recovery_reading(recovery_rows(workspace), ())
    events, drawn = [], []
    for event in recover(follow, workspace, run, 512, 0.001):
        events.append(event)
        drawn.append(len([row for row in recovery_rows(workspace) if row.recovered]))
    assert drawn[0] == 0 and drawn[-1] == 1  # whoever draws on the last event draws the recovered run
    grown = [len(event.curve) for event in events if isinstance(event, Recovering)]
    assert grown == sorted(grown) and grown[-1] == 3  # before, and after each of two steps
    done = events[-1].run
    assert workspace.shown is run and workspace.own[done.key] is done
    assert store.get(done.key).report == done.report
    rows = {row.label: row for row in recovery_rows(workspace)}
    assert rows["Wanda"].recovered is None
    assert rows["RIA"].pruned == run.report["evaluation"]["pruned"]["perplexity"]
    assert rows["RIA"].recovered == done.report["evaluation"]["pruned"]["perplexity"]
    assert rows["RIA"].recovery == "512 tokens, rate 0.001" and len(rows) == 2
    assert run_label(done) == "RIA · recovered on 512 tokens, rate 0.001" and method_in(run_label(done)) == "RIA"
    curve = curve_of(workspace)
    assert curve == events[-1].curve
    assert list(recovery_curve(curve, "RIA").data[0].x) == [point.tokens for point in curve]
    table = recovery_table(recovery_rows(workspace))
    assert f'<a href="?run={done.key}">' in table and "not recovered" in table
    assert "after recovery" in recovery_reading(recovery_rows(workspace), curve)


def test_from_a_recovered_run_the_one_before_it_is_recovered_otherwise(micro, store, workspace, follow):
    run = workspace.shown
    store.put(run)
    done = list(recover(follow, workspace, run, 256, None))[-1].run
    assert before_recovery(done).key == run.key
    workspace.show(done)
    again = list(recover(follow, workspace, done, 256, 0.002))[-1].run
    assert again.config.without("recovery").key() == run.key != again.key
    assert len([row for row in recovery_rows(workspace) if row.label == "RIA"]) == 2
    assert [event.run for event in recover(follow, workspace, run, 256, None)][-1].key == done.key  # known by now
    store.remove(run.key)
    with pytest.raises(EggsError, match="no longer here"):
        before_recovery(done)
