"""What hypothesis draws for the tests of selection: patterns, and scores of every kind."""

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis.extra import numpy as hnp

from eggs_core import NMPattern

patterns = st.integers(2, 8).flatmap(lambda m: st.builds(NMPattern, st.integers(1, m), st.just(m)))


@st.composite
def problems(draw, rows=24):
    """Scores of every kind (spread, tied, zero, heavy-tailed columns) with a pattern that divides them."""
    pattern = draw(patterns)
    shape = (draw(st.integers(1, rows)), pattern.group * draw(st.integers(1, 3)))
    random = np.random.default_rng(draw(st.integers(0, 2**20)))
    kind = draw(st.sampled_from(["spread", "tied", "zero", "tails", "drawn"]))
    if kind == "drawn":
        values = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 100, width=32)))
    else:
        values = random.random(shape, dtype=np.float32)
        if kind == "tied":
            values = np.round(values * 3)
        if kind == "zero":
            values = np.zeros(shape, dtype=np.float32)
        if kind == "tails":
            values = values * np.exp(2 * random.standard_normal(shape[1])).astype(np.float32)
    return torch.from_numpy(values), pattern
