"""What each layer of a model loses, measured once and kept as a small file."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eggs_core.allocation.allocate import measure_sensitivities
from eggs_core.allocation.sizes import LayerSize, rows_of
from eggs_core.allocation.table import Choice, Sensitivities
from eggs_core.assets import ASSETS
from eggs_core.bos import FIRST, NONE
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.files import write_json
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress
from eggs_core.reading import read_json
from eggs_core.rules import choice_text
from eggs_core.text.sources import Text
from eggs_core.validation import Amount, Named, Natural, build, closed

SHIPPED = ASSETS / "losses"


@closed
@dataclass(frozen=True, slots=True)
class MeasuredLosses:
    """The predicted loss of each layer by each pattern, in nats a token, with what it was measured by and when."""

    config: dict[str, Any]
    created: str  # ISO 8601
    tokens: Natural
    losses: Named[Named[Amount]]  # layer -> pattern -> nats a token

    @classmethod
    def of(cls, config: PruneConfig, found: Sensitivities) -> MeasuredLosses:
        """The losses of a table that was measured now."""
        losses = {
            row.name: {choice_text(choice): cell.loss for choice, cell in row.cells.items() if choice is not None}
            for row in found.layers
        }
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(config.to_dict(), now, found.tokens, losses)

    def sensitivities(self, layers: Sequence[LayerSize]) -> Sensitivities:
        """The whole table, with the bytes that the layers take here; a layer without losses is left out."""
        config = PruneConfig.from_dict(self.config)
        parsed = {
            name: {NMPattern.parse(pattern): loss for pattern, loss in own.items()} for name, own in self.losses.items()
        }
        rows = rows_of(layers, parsed, config)
        return Sensitivities(config.model, config.in_words(), self.tokens, rows)


def measured_losses(
    config: PruneConfig,
    candidates: Sequence[Choice],
    texts: Mapping[str, Text] | None = None,
    models: Models = CACHE,
) -> Iterator[Progress | MeasuredLosses]:
    """Measure what each layer loses by each candidate; yields progress, and the losses in the end."""
    found = yield from measure_sensitivities(config, candidates, texts=texts, models=models)
    yield MeasuredLosses.of(config, found)


def losses_key(config: PruneConfig) -> str:
    """What losses are told apart by: the model, the method and the calibration; a plan's pattern and rules are not."""
    # Whether a model has a BOS is its own and may not be known yet; where it stands can be chosen.
    bos = FIRST if config.bos == FIRST else NONE
    return config.without("values").changed(pattern="2:4", layers=(), bos=bos).key()


def save_losses(found: MeasuredLosses, path: Path) -> None:
    """Write losses as JSON; raises EggsError when they cannot be written."""
    write_json(path, asdict(found))


def load_losses(path: Path) -> MeasuredLosses:
    """Read losses; raises EggsError if the file is missing or damaged."""
    try:
        found = build(read_json(path), MeasuredLosses)
        PruneConfig.from_dict(found.config)
        for own in found.losses.values():
            for pattern in own:
                NMPattern.parse(pattern)
    except (OSError, ValueError, EggsError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise EggsError(f"The losses {path.name} cannot be read ({reason}); measure them again.") from error
    return found
