"""The verdict on a run."""

import pytest

from components.places.layers.overview.words import verdict
from components.state.known_runs import first_run


def report(ratio=1.09, share=0.5, packed=0.64, **others):
    """A bundled run's report with other figures."""
    found = first_run().report
    sides = {"dense": 30.0, "pruned": 30.0 * ratio}
    evaluation = {side: found["evaluation"][side] | {"perplexity": value} for side, value in sides.items()}
    evaluation = found["evaluation"] | evaluation
    size = found["size"] | {"dense_bytes": 1000, "packed_bytes": round(1000 * packed)}
    layers = [layer | {"sparsity": share} for layer in found["layers"]]
    return found | {"evaluation": evaluation, "size": size, "layers": layers} | others


def marks(html):
    """What is good, bad and neither, in order."""
    return [part.partition('"')[0] for part in html.split('class="verdict-')[2:]]


CASES = [
    (
        report(),
        (1.0, True),
        ["Half the weights gone", "9% more perplexity", "36% smaller", "no faster on this machine"],
        ["bad", "good", "even"],
    ),
    (
        report(share=0.25, ratio=1.001),
        (1.41, False),
        ["A quarter of the", "the same perplexity", "1.41 × as fast where the run was made"],
        ["good", "good", "good"],
    ),
    (
        report(share=0.75, ratio=31.4, packed=1.0),
        (0.8, True),
        ["Three quarters of", "31.4 times the", "no smaller", "slower on"],
        ["bad", "bad", "bad"],
    ),
    (
        report(share=0.41, ratio=0.9),
        (None, True),
        ["41% of the weights", "10% less perplexity", "not measured"],
        ["good", "good", "even"],
    ),
]


@pytest.mark.parametrize(("figures", "speed", "words", "seen"), CASES)
def test_the_verdict_marks_what_is_good_and_what_is_bad(figures, speed, words, seen):
    said = verdict(figures, "a label", *speed)
    assert all(word in said for word in words), said
    assert marks(said) == seen


def test_a_layer_counts_by_its_weights():
    """One large layer that was pruned by half, and a small one that was not."""
    shapes = zip(first_run().report["layers"], ([90, 100], [10, 100]), (0.5, 0.0), strict=False)
    layers = [layer | {"shape": shape, "sparsity": share} for layer, shape, share in shapes]
    assert "45% of the weights gone" in verdict(report(layers=layers), "a label", 1.0, True)
