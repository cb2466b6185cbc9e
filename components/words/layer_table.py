"""All layers of a run as a table."""

import pandas as pd

from components.words.glossary import MEASURES, measure_of
from eggs_core.runs.run import Run


def layer_table(run: Run) -> pd.DataFrame:
    """Layers as rows, every measure as a column."""
    return pd.DataFrame(
        {"Layer": layer["name"], "Shape": "{} × {}".format(*layer["shape"])}
        | {name.capitalize(): form.format(measure_of(layer, key)) for key, (name, form) in MEASURES.items()}
        for layer in run.report["layers"]
    )
