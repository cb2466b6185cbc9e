"""What an allocated plan is worth at uniform 2:4's packed bytes, and how well its loss is predicted.

    python benchmarks/plans.py [--quick] [--json FILE] [--models NAME ...] [--methods NAME ...] [--seeds S ...]

Models, texts and windows are those of quality.py; nothing that is evaluated on was seen by calibration or allocation.
Every plan takes at most the bytes of uniform 2:4: allocated with M ≤ 8, with M = 4 and with both, and a blind mix of
4:8 and 3:8, whose layers are drawn by the seed. Ratios are of perplexities, paired over windows, with bootstrap 95 %
intervals. For the prediction, random plans of equal bytes (± 0.5 %) are pruned by RIA. Finished cells are kept under
build/plans and not computed again unless the code has changed, so an interrupted run goes on where it was. In a FILE
that is there already, tables of the models and methods that are measured replace the old ones, and others stay.
"""

import argparse
import json
import math
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import scipy.stats  # noqa: E402
import torch  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402
from benchmarks.quality import (  # noqa: E402
    DATA,
    SCORING,
    SMOLLM2,
    Opened,
    code_version,
    known_cells,
    mean_nats,
    open_model,
    prune_and_score,
)
from eggs_core.allocation.allocate import best_plan, measure_sensitivities, parse_candidates  # noqa: E402
from eggs_core.allocation.grouped import grouped_rules  # noqa: E402
from eggs_core.allocation.sizes import sizes_in  # noqa: E402
from eggs_core.allocation.stored import MeasuredLosses  # noqa: E402
from eggs_core.allocation.table import CANDIDATES, Choice, Sensitivities, estimate  # noqa: E402
from eggs_core.bos import EVERY  # noqa: E402
from eggs_core.config import PruneConfig, make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_ratio  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate, protocol  # noqa: E402
from eggs_core.models.loading import LoadedModel  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.text.windows import bos_of  # noqa: E402
from eggs_core.validation import build  # noqa: E402

CELLS = ROOT / "build" / "plans"
M4 = ("dense", "3:4", "2:4", "1:4")
SETS = {"M ≤ 8": CANDIDATES, "M = 4": M4, "mixed": (*CANDIDATES, *M4[1:])}
BLIND = (NMPattern(4, 8), NMPattern(3, 8))
UNIFORM = NMPattern(2, 4)
NEAR = 0.005  # by which the bytes of random plans may differ
RATIO_BAR, EXCESS_BAR, RANK_BAR = 0.85, 0.15, 0.6


@dataclass(slots=True)
class OneModel:
    """Where the allocation finds the model that is open already."""

    dense: LoadedModel

    def get(self, _name: str) -> LoadedModel:
        """The model, whatever it is called."""
        return self.dense


def config_of(name: str, method: str, seed: int, opened: Opened, **values: Any) -> PruneConfig:
    """A configuration on the model's texts; SmolLM2 goes by a bundled name, as its file's own may lie anywhere."""
    values = {"pattern": UNIFORM, **opened.windows, **values}
    if name == "smollm2":
        name, values["calibration"] = "tiny-llama", f"text:{opened.calibration.sha256}"
    return make_config(name, method=method, seed=seed, **values)


def measured(opened: Opened, config: PruneConfig) -> dict[str, Any]:
    """What each layer loses by each candidate of any set, and the processor seconds that it took to measure."""
    texts, started = {config.calibration: opened.calibration}, time.process_time()
    every = parse_candidates(sorted({name for names in SETS.values() for name in names}))
    steps = measure_sensitivities(config, every, texts=texts, models=OneModel(opened.dense))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            losses = asdict(MeasuredLosses.of(config, end.value))
            return {"losses": losses, "processor_seconds": time.process_time() - started}


def budget_of(found: Sensitivities) -> int:
    """Packed bytes of the layers at uniform 2:4."""
    return estimate(found, {row.name: UNIFORM for row in found.layers}).bytes


def blind(found: Sensitivities, seed: int) -> dict[str, Choice]:
    """A mix of 4:8 and 3:8 of the budget's bytes, layers in random order."""
    plan: dict[str, Choice] = {row.name: BLIND[0] for row in found.layers}
    order, budget = [row.name for row in found.layers], budget_of(found)
    random.Random(seed).shuffle(order)
    while estimate(found, plan).bytes > budget:
        plan[order.pop()] = BLIND[1]
    return plan


def random_plan(found: Sensitivities, draw: random.Random) -> dict[str, Choice]:
    """Any of the candidates of M ≤ 8 for each layer, then changes at random until the bytes are the budget's."""
    rows = {row.name: row.cells for row in found.layers}
    choices, budget = parse_candidates(CANDIDATES), budget_of(found)
    plan = {name: draw.choice(choices) for name in rows}
    size = estimate(found, plan).bytes
    while abs(size / budget - 1) > NEAR:
        name, other = draw.choice(list(rows)), draw.choice(choices)
        change = rows[name][other].bytes - rows[name][plan[name]].bytes
        if change and (change < 0) == (size > budget):
            plan[name], size = other, size + change
    return plan


class Bench:
    """One model's cells; each is pruned and evaluated once."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self.opened, self.cell = open_model(name, options.smollm2, options.data), known_cells(name, CELLS)
        self.losses = known_cells(f"{name}-losses", CELLS, (*SCORING, "allocation"))
        self.dense = self.cell("dense", lambda: evaluate(self.opened.dense.model, self.opened.evaluation).to_dict())
        print(f"{name}: dense perplexity {self.dense['perplexity']:.2f}", flush=True)

    def measured(self, method: str, seed: int) -> tuple[Sensitivities, float]:
        """The sensitivities of the model's layers, and the processor seconds that it took to measure them."""
        config = config_of(self.name, method, seed, self.opened)
        value = self.losses(f"{method} {seed}", lambda: measured(self.opened, config))
        layers = list(sizes_in(self.opened.dense.model))
        return build(value["losses"], MeasuredLosses).sensitivities(layers), value["processor_seconds"]

    def plan_cell(self, what: str, method: str, seed: int, found: Sensitivities, plan: dict[str, Choice]) -> dict:
        """A plan, pruned and evaluated on text that was not seen before."""
        pattern, rules = grouped_rules(found.layers, plan)
        config = config_of(self.name, method, seed, self.opened, pattern=pattern, layers=rules)
        predicted = estimate(found, plan)
        more = {"predicted_loss": predicted.loss, "packed_share": predicted.bytes / found.dense.bytes}
        opened = self.opened

        def compute() -> dict[str, Any]:
            return prune_and_score(opened.dense, config, opened.calibration, opened.evaluation)

        value = self.cell(f"{method} {seed} {pattern} {' '.join(rules)}", compute) | more | {"rules": list(rules)}
        print(
            f"  {method} seed {seed} {what:10} perplexity {value['perplexity']:9.2f}, predicted "
            f"{self.dense['perplexity'] * math.exp(predicted.loss):9.2f}, {more['packed_share']:.2%} of the bytes, "
            f"{value['processor_seconds']:.0f} s of processor time",
            flush=True,
        )
        return value

    def compare(self, method: str) -> dict[str, Any]:
        """All plans of equal bytes by one method, over seeds: ratios to uniform 2:4 and to the blind mix."""
        rows: dict[str, list[dict[str, Any]]] = {}
        seconds, gaps = [], []
        for seed in self.options.seeds:
            found, spent = self.measured(method, seed)
            share = budget_of(found) / found.dense.bytes
            plans: dict[str, dict[str, Choice]] = {"2:4": {row.name: UNIFORM for row in found.layers}}
            for what in self.options.sets:
                allocation = best_plan(found, share, parse_candidates(SETS[what]))
                plans[what] = allocation.patterns
                gaps.append(allocation.gap)
            plans["blind"] = blind(found, seed)
            for what, plan in plans.items():
                rows.setdefault(what, []).append(self.plan_cell(what, method, seed, found, plan))
            seconds.append(spent / rows["M ≤ 8"][-1]["processor_seconds"])
        nats = {what: mean_nats(values) for what, values in rows.items()}
        whole, dense = statistics.fmean(nats["2:4"]), statistics.fmean(self.dense["window_nats"])
        table = {}
        for what, values in rows.items():
            table[what] = {
                "perplexities": [value["perplexity"] for value in values],
                "packed_share": [value["packed_share"] for value in values],
                "predicted_loss": [value["predicted_loss"] for value in values],
                "ratio": paired_ratio(nats["2:4"], nats[what]).to_dict(),
                "against_blind": paired_ratio(nats["blind"], nats[what]).to_dict(),
                "excess_removed": (whole - statistics.fmean(nats[what])) / (whole - dense),
                "rules": [value["rules"] for value in values],
            }
        return {"table": table, "seconds_of_pruning": max(seconds), "gap": max(gaps), "seeds": self.options.seeds}

    def prediction(self) -> dict[str, Any]:
        """Random plans of equal bytes by RIA: rank correlation of predicted and true loss."""
        seed = self.options.seeds[0]
        found, _ = self.measured("ria", seed)
        draw = random.Random(seed)
        plans = [random_plan(found, draw) for _ in range(self.options.plans)]
        cells = [self.plan_cell(f"random {i + 1}", "ria", seed, found, plan) for i, plan in enumerate(plans)]
        predicted = [cell["predicted_loss"] for cell in cells]
        true = [statistics.fmean(cell["window_nats"]) for cell in cells]
        return {"rank": float(scipy.stats.spearmanr(predicted, true).statistic), "predicted": predicted, "true": true}


def print_table(title: str, found: dict[str, Any]) -> None:
    """The comparison as text."""
    print(f"\n{title}\n{'plan':10} perplexity    ÷ uniform 2:4          ÷ blind mix            excess removed")
    for what, row in found["table"].items():
        cells = [f"{r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in (row["ratio"], row["against_blind"])]
        mean = statistics.fmean(row["perplexities"])
        print(f"{what:10} {mean:10.2f}    {cells[0]:21}  {cells[1]:21}  {row['excess_removed']:.1%}")


def checks_of(tables: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars, of every comparison and prediction."""
    checks = []
    for title, found in tables.items():
        model, what = title.split(" ")
        name = f"{model}_{what}"
        if what == "prediction":
            checks.append(check(f"{model}_rank", found["rank"], RANK_BAR, higher_is_better=True))
            continue
        row = found["table"]["M ≤ 8"]
        if model == "smollm2":
            checks.append(check(f"{name}_ratio", row["ratio"]["value"], RATIO_BAR))
        else:
            checks.append(check(f"{name}_excess_removed", row["excess_removed"], EXCESS_BAR, higher_is_better=True))
        checks.append(check(f"{name}_against_blind_high", row["against_blind"]["high"], 1.0))
        checks.append(check(f"{name}_seconds_of_pruning", found["seconds_of_pruning"], 1.0))
    return checks


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tables by model and method, and each model's protocol."""
    tables, models = {}, {}
    code = {"code": code_version((*SCORING, "allocation"))}
    for name in options.models:
        if name == "smollm2" and not (options.smollm2.exists() and options.data.is_dir()):
            print(f"{name} is left out: {options.smollm2} or {options.data} is not there.", file=sys.stderr)
            continue
        bench = Bench(name, options)
        opened = bench.opened
        models[name] = protocol(opened.evaluation_text, opened.evaluation, bos_of(opened.dense.tokenizer, EVERY))
        models[name]["dense"] = bench.dense["perplexity"]
        for method in options.methods:
            tables[f"{name} {method}"] = bench.compare(method) | code
            print_table(f"{name} by {method}", tables[f"{name} {method}"])
        if options.plans > 2:
            tables[f"{name} prediction"] = bench.prediction() | code
    return tables, models


def main() -> int:
    """Measure, print the tables, write JSON, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama by RIA, seed 0, M ≤ 8, without random plans")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, tables, machine and versions here")
    parser.add_argument("--models", nargs="+", default=["tiny-llama", "tiny-opt", "smollm2"])
    parser.add_argument("--methods", nargs="*", default=["ria", "eggs-ptp-plus"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--plans", type=int, default=20, help="random plans for the prediction")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS), help="M ≤ 8 has the bars")
    parser.add_argument("--threads", type=int, help="of torch; default: its own")
    parser.add_argument("--smollm2", type=Path, default=SMOLLM2, help="the GGUF file, or a folder of safetensors")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two texts")
    options = parser.parse_args()
    if options.quick:
        options.models, options.methods, options.seeds = ["tiny-llama"], ["ria"], [0]
        options.sets, options.plans = ["M ≤ 8"], 0
    if options.threads:
        torch.set_num_threads(options.threads)
    tables, models = measure(options)
    if options.json and options.json.exists():
        before = json.loads(options.json.read_text(encoding="utf-8"))
        tables, models = before["tables"] | tables, before["models"] | models
    return conclude(checks_of(tables), options.json, quick=options.quick, tables=tables, models=models)


if __name__ == "__main__":
    raise SystemExit(main())
