"""Does connectivity help? The degree bound against quality where it is most likely to matter.

    python benchmarks/connectivity.py [--quick] [--json FILE] [--models NAME ...] [--patterns N:M ...] [--seeds S ...]
                                      [--families NAME ...]

Masks by RIA's score with the bound β at 0, which is top-N, automatic and 1, alone and as part of EGGS-PTP+. Beside gap,
orphans and certificate: perplexity, that of rare tokens alone (at most RARE times in the calibration text), and of long
generations (64 prompts, 128 greedy tokens each) the dense model's loss and the share of different token pairs. Models
and texts are those of quality.py; finished cells are kept under build/quality, as there.
"""

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.outcome import conclude  # noqa: E402
from benchmarks.quality import Opened, known_cells, mean_nats, open_model, prune_and_score  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_ratio  # noqa: E402
from eggs_core.registry import CUSTOM, METHODS  # noqa: E402

BOUNDS = {"0": 0.0, "automatic": None, "1": 1.0}  # β
FAMILIES = {
    "RIA": {"score": "ria", "selection": "degree", "permutation": "none", "reconstruction": "none"},
    "EGGS-PTP+": METHODS["eggs-ptp-plus"].choices(),
}
RARE = 5  # times that a token is in the calibration text, at most, to count as rare
PROMPTS, PROMPT, NEW = 64, 32, 128  # generations, tokens of a prompt, and tokens that are written
MEASURES = ("window_nats", "rare_nats", "written_nats", "distinct_pairs")


def rare_tokens(opened: Opened) -> torch.Tensor:
    """Which tokens of the vocabulary are rare, bool (tokens,)."""
    ids = opened.dense.tokenizer(opened.calibration.content, return_tensors="pt")["input_ids"][0]
    counts = torch.bincount(ids, minlength=opened.dense.model.config.vocab_size)
    return counts <= RARE


@torch.no_grad()
def rare_nats(model, windows: torch.Tensor, rare: torch.Tensor) -> list[float]:
    """Mean nats of the rare tokens of each eighth of the windows, which holds enough of them for a mean."""
    found = []
    for part in windows.chunk(8):
        logits = model(input_ids=part, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="none")
        found.append(loss[rare[part[:, 1:].flatten()]].mean().item())
    return found


@torch.no_grad()
def written(model, dense, windows: torch.Tensor) -> dict[str, list[float]]:
    """What the model writes greedily behind each prompt: the dense model's nats a token, and how varied it is."""
    prompts = windows[:PROMPTS, :PROMPT]
    texts = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        max_new_tokens=NEW,
        min_new_tokens=NEW,
        pad_token_id=0,
    )
    logits = dense(input_ids=texts, use_cache=False).logits[:, PROMPT - 1 : -1]
    new = texts[:, PROMPT:]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), new.flatten(), reduction="none")
    pairs = [len(set(itertools.pairwise(row))) / (NEW - 1) for row in new.tolist()]
    return {"written_nats": loss.view(len(texts), -1).mean(1).tolist(), "distinct_pairs": pairs}


def measure(opened: Opened, config, rare: torch.Tensor) -> dict[str, Any]:
    """One cell: prune a copy, and measure its graphs and all that it may be good for."""

    def more(model, _layers) -> dict[str, Any]:
        found = written(model, opened.dense.model, opened.evaluation)
        return {"rare_nats": rare_nats(model, opened.evaluation, rare), **found}

    return prune_and_score(opened.dense, config, opened.calibration, opened.evaluation, more)


def table(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row for each bound: graphs, and every measure's ratio to top-N with its paired interval."""
    made = []
    for name, rows in found.items():
        row: dict[str, Any] = {"beta": name, "perplexities": [one["perplexity"] for one in rows]}
        for graph in ("gap", "orphans", "min_in_degree", "certified"):
            row[graph] = statistics.fmean(one[graph] for one in rows)
        for measured in MEASURES:
            values = mean_nats(rows, measured)
            row[measured] = statistics.fmean(values)
            if measured != "distinct_pairs":
                row[f"{measured} against 0"] = paired_ratio(mean_nats(found["0"], measured), values).to_dict()
        made.append(row)
        ratios = "  ".join(
            f"{row[f'{m} against 0']['value']:.3f} [{row[f'{m} against 0']['low']:.3f}, "
            f"{row[f'{m} against 0']['high']:.3f}]"
            for m in MEASURES[:3]
        )
        print(
            f"  β {name:9} gap {row['gap']:.3f}  orphans {row['orphans']:6.1f}  certified {row['certified']:.3f}  "
            f"perplexity {statistics.fmean(row['perplexities']):8.2f}  {ratios}  "
            f"pairs {row['distinct_pairs']:.3f}",
            flush=True,
        )
    return made


def study(model: str, options: argparse.Namespace, cell: Callable, opened: Opened) -> dict[str, Any]:
    """Every pattern and family of one model."""
    rare, tables = rare_tokens(opened), {}
    for pattern in options.patterns:
        for family in options.families:
            choices = FAMILIES[family]
            found: dict[str, list[dict[str, Any]]] = {}
            for name, beta in BOUNDS.items():
                for seed in options.seeds:
                    config = make_config(model, pattern, CUSTOM, seed=seed, beta=beta, **choices, **opened.windows)
                    key = f"connectivity {pattern} {family} {name} {seed}"
                    found.setdefault(name, []).append(cell(key, lambda c=config: measure(opened, c, rare)))
            print(
                f"{model} {pattern} {family}: perplexity, rare tokens and written text, each against β = 0", flush=True
            )
            tables[f"{model} {pattern} {family}"] = table(found)
    return tables


def main() -> int:
    """Measure, print one table for each model, pattern and family, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama, 1:4, one seed, RIA alone")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--models", nargs="+", default=["tiny-llama", "tiny-opt"])
    parser.add_argument("--patterns", nargs="+", default=["1:4", "1:8"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    options = parser.parse_args()
    if options.quick:
        options.models, options.patterns, options.seeds, options.families = ["tiny-llama"], ["1:4"], [0], ["RIA"]
    tables: dict[str, Any] = {}
    for model in options.models:
        tables |= study(model, options, known_cells(model), open_model(model))
    return conclude([], options.json, tables=tables)


if __name__ == "__main__":
    raise SystemExit(main())
