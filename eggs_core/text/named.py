"""The text behind the name that a configuration gives it."""

from collections.abc import Mapping

from eggs_core.errors import EggsError
from eggs_core.text.datasets import PREFIX as DATASET
from eggs_core.text.datasets import dataset_text
from eggs_core.text.sources import Text, bundled_text


def chosen_text(name: str, bundled: str, texts: Mapping[str, Text] | None) -> Text:
    """The text that a configuration names: the bundled split, a dataset's, or one of `texts`; raises EggsError."""
    if name == "bundled":
        return bundled_text(bundled)
    if name.startswith(DATASET):
        return dataset_text(name.removeprefix(DATASET))
    if not texts or name not in texts:
        raise EggsError(f"The text {name!r} of this configuration is not at hand; paste it again.")
    return texts[name]
