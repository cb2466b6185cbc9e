"""All layers of a run as a table, the experts of a block as one row."""

import pandas as pd

from components.words.experts import mean_text
from components.words.glossary import MEASURES
from components.words.phrases import plural
from eggs_core.runs.layer_rows import Cell, cells_of
from eggs_core.runs.run import Run


def layer_table(run: Run) -> pd.DataFrame:
    """Layers as rows, every measure as a column; a block's experts are one row of means, which says so."""
    return pd.DataFrame(
        {"Layer": _name(cell), "Shape": _shape(cell)}
        | {name.capitalize(): mean_text(cell, key) for key, (name, _) in MEASURES.items()}
        for cell in cells_of(run.report["layers"])
    )


def _name(cell: Cell) -> str:
    return f"{cell.name} (mean of {plural(len(cell.numbers), 'expert')})" if cell.numbers else cell.name


def _shape(cell: Cell) -> str:
    return ", ".join(dict.fromkeys("{} × {}".format(*layer["shape"]) for layer in cell.layers))
