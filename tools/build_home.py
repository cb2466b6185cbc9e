"""Compute assets/home.json, which Home shows: five prompts, continued by a model dense and pruned; a tile of masks.

    python tools/build_home.py SmolLM2-135M-Instruct.Q4_1.gguf             # what is missing, rounded values last
    python tools/build_home.py SmolLM2-135M-Instruct.Q4_1.gguf --gather    # only write the file from what there is

Every pattern, method and number of bits is kept in ~/.cache/eggs/home once it is computed, and the file is written
anew after each: what was interrupted goes on where it was. The prompts were fixed before any was run. Decoding is
greedy. Tokens of the dense and the packed model are timed in turn, so other programs change their rates, but hardly
their ratio: the dense rate is the best of all runs, a packed one that times the ratio, of methods with equal layouts
the median one. A cell of a layout that was never timed has no rate.
"""

import argparse
import json
import statistics
import sys
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.outcome import machine  # noqa: E402
from eggs_core import registry  # noqa: E402
from eggs_core.config import PruneConfig, make_config  # noqa: E402
from eggs_core.runs.events import Finished  # noqa: E402
from eggs_core.runs.execute import execute  # noqa: E402
from eggs_core.speed.generation import greedy  # noqa: E402
from eggs_core.text.windows import prompt_ids  # noqa: E402

HOME = ROOT / "assets" / "home.json"
PROMPTS = (
    "The capital of France is",
    "Once upon a time, in a village by the sea, there lived",
    "Water boils when it is heated because",
    "To make a good cup of tea, first",
    "A good friend is someone who",
)
NEW_TOKENS = 40
PATTERNS = ("2:4", "3:4", "1:4")
ALL = "1:1"  # every weight stays: with rounded values, quantisation alone
METHODS = ("magnitude", "wanda", "ria", "sparsegpt", "eggs-ptp-plus")
PLAIN = "magnitude"  # the method at 1:1, where all methods keep the same; it changes no value before it is rounded
ROUNDED = ("int8", "int4", "bf16")
AS_COMPUTED = registry.default("values")
TILE = ("tiny-llama", "model.layers.2.mlp.down_proj", 8, 16)  # a bundled model's layer, rows, columns
WINDOWS = {"calibration_windows": 32, "evaluation_windows": 32}  # of 256 tokens


def continuation(model, ids: torch.Tensor, end: int | None) -> list[int]:
    """The tokens that a model writes behind a prompt (1, tokens), without the one that ends a text."""
    tokens: list[int] = []
    for token, _ in islice(greedy(model, ids), NEW_TOKENS):
        if token == end:
            break
        tokens.append(token)
    return tokens


@torch.no_grad()
def otherwise(model, ids: torch.Tensor, tokens: list[int]) -> list[tuple[int, int]]:
    """Where a model that reads `tokens` behind the prompt `ids` would have gone on otherwise: (place, its token)."""
    read = torch.cat([ids, torch.tensor([tokens])], dim=1)
    chosen = model(input_ids=read, use_cache=False).logits[0, ids.shape[1] - 1 : -1].argmax(-1).tolist()
    return [(i, mine) for i, (mine, theirs) in enumerate(zip(chosen, tokens, strict=True)) if mine != theirs]


def pieces(tokenizer, tokens: list[int]) -> list[str]:
    """Each token's text; together they are the whole text."""
    found = tokenizer.batch_decode([[token] for token in tokens])
    if "".join(found) != tokenizer.decode(tokens):
        raise SystemExit(f"These tokens are no texts of their own: {found}")
    return found


def measured(config: PruneConfig) -> dict:
    """One pattern and method: its figures, the dense model's beside them, and the texts of both."""
    finished = next(event for event in execute(config) if isinstance(event, Finished))
    report, dense, pruned = finished.run.report, finished.dense, finished.model
    tokenizer, end = dense.tokenizer, dense.tokenizer.eos_token_id
    rows, written = [], []
    for prompt in PROMPTS:
        ids = prompt_ids(tokenizer, prompt)
        tokens = continuation(dense.model, ids, end)
        written.append(pieces(tokenizer, tokens))
        others = [[i, tokenizer.decode([token])] for i, token in otherwise(pruned, ids, tokens)]
        rows.append({"otherwise": others, "text": tokenizer.decode(continuation(pruned, ids, end))})
    speed = {side: report["latency"][side]["decode_tokens_per_s"]["median"] for side in ("dense", "packed")}
    evaluation = report["evaluation"]
    return {
        "dense": {
            "perplexity": evaluation["dense"]["perplexity"],
            "bytes": report["size"]["dense_bytes"],
            "texts": written,
        },
        "protocol": {
            "calibration": report["calibration"],
            "evaluation": {k: v for k, v in evaluation.items() if k not in ("dense", "pruned")},
            "seed": config.seed,
            "device": report["device"],
            "kernel": report["latency"]["kernel"],
            "threads": report["latency"]["threads"],
            "versions": report["versions"],
            "created": report["created"],
        },
        "pruned": {
            "perplexity": evaluation["pruned"]["perplexity"],
            "bytes": report["size"]["packed_bytes"],
            "tokens_per_second": speed["packed"],
            "dense_tokens_per_second": speed["dense"],
            "prompts": rows,
        },
    }


def tile() -> dict:
    """A window of one layer: its weights, row by row, and what each pattern and method keeps of it, as 0 and 1.

    It is the window that has most inputs without a kept weight by magnitude at 2:4, so that these can be seen.
    """
    model, layer, rows, columns = TILE
    masks: dict[str, dict[str, torch.Tensor]] = {}
    for pattern in PATTERNS:
        for method in METHODS:
            done = [
                e for e in execute(make_config(model, pattern, method, evaluation_windows=1)) if isinstance(e, Finished)
            ]
            masks.setdefault(pattern, {})[method] = done[0].run.mask(layer)
    lost = ~masks["2:4"]["magnitude"].unfold(0, rows, rows).unfold(1, columns, columns).any(2)
    found = int(lost.sum(2).argmax())
    row, column = found // lost.shape[1] * rows, found % lost.shape[1] * columns
    part = slice(row, row + rows), slice(column, column + columns)
    weights = done[0].dense.model.get_submodule(layer).weight[part].float()
    return {
        "model": model,
        "layer": layer,
        "row": row,
        "column": column,
        "rows": rows,
        "columns": columns,
        "weights": [round(w, 4) for w in weights.flatten().tolist()],
        "masks": {
            pattern: {m: "".join(str(int(bit)) for bit in mask[part].flatten()) for m, mask in of.items()}
            for pattern, of in masks.items()
        },
    }


def cells() -> list[tuple[str, str, str]]:
    """Pattern, method and values of all that Home has a place for, the quick and the telling ones first."""
    pruned = [(pattern, method) for method in METHODS for pattern in PATTERNS]
    best = METHODS[-1]
    telling = [(ALL, PLAIN, "int8"), (ALL, PLAIN, "int4"), ("2:4", best, "int4"), ("2:4", best, "int8")]
    rounded = [(p, m, values) for p, m in ((ALL, PLAIN), *reversed(pruned)) for values in ROUNDED]
    return list(dict.fromkeys([*((p, m, AS_COMPUTED) for p, m in pruned), *telling, *rounded]))


def place(kept: Path, pattern: str, method: str, values: str) -> Path:
    """The file that keeps a cell."""
    rounded = "" if values == AS_COMPUTED else f"-{values}"
    return kept / f"{pattern.replace(':', 'of')}-{method}{rounded}.json"


def gather(kept: Path) -> dict:
    """All that was computed so far, as one object."""
    files = {cell: file for cell in cells() if (file := place(kept, *cell)).is_file()}
    found = {cell: json.loads(file.read_text(encoding="utf-8")) for cell, file in files.items()}
    first = next(iter(found.values()))
    for cell, one in found.items():
        if one["dense"]["texts"] != first["dense"]["texts"]:
            raise SystemExit(f"{cell} was computed with another dense model; remove {files[cell]}.")
    pruned: dict = {}
    rounded: dict = {}
    for (pattern, method, values), speed in speeds({cell: one["pruned"] for cell, one in found.items()}).items():
        place_in = pruned if values == AS_COMPUTED else rounded.setdefault(values, {})
        place_in.setdefault(pattern, {})[method] = found[pattern, method, values]["pruned"] | speed
    devices = sorted({one["protocol"]["device"].partition(",")[0] for one in found.values()})
    protocol = first["protocol"] | {"created": max(one["protocol"]["created"] for one in found.values())}
    about = {
        "model": kept.name,
        "new_tokens": NEW_TOKENS,
        "machine": machine()["processor"],
        **protocol,
        "devices": devices,
    }
    texts = {"about": about, "prompts": PROMPTS, "dense": first["dense"], "pruned": pruned, "rounded": rounded}
    return texts | {"tile": json.loads((kept / "tile.json").read_text(encoding="utf-8"))}


def speeds(found: dict) -> dict:
    """Tokens a second of every cell, and of the dense model; nothing for a cell of a layout that was never timed."""
    timed = {cell: one for cell, one in found.items() if "tokens_per_second" in one}
    best = max(one["dense_tokens_per_second"] for one in timed.values())
    ratios: dict[tuple, list[float]] = {}
    for cell, one in timed.items():
        ratios.setdefault(layout(*cell), []).append(one["tokens_per_second"] / one["dense_tokens_per_second"])
    rates = {key: best * statistics.median(found) for key, found in ratios.items()}
    known = {cell: rates.get(layout(*cell)) for cell in found}
    return {
        cell: {} if rate is None else {"tokens_per_second": rate, "dense_tokens_per_second": best}
        for cell, rate in known.items()
    }


def layout(pattern: str, method: str, values: str) -> tuple[str, str, str]:
    """What the speed of a packed model depends on."""
    return pattern, values, registry.METHODS[method].permutation


def main() -> None:
    """Compute what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file, a folder, or a bundled name")
    parser.add_argument("--gather", action="store_true", help="compute nothing")
    options = parser.parse_args()
    kept = Path.home() / ".cache" / "eggs" / "home" / Path(options.model).name.partition(".")[0]
    kept.mkdir(parents=True, exist_ok=True)
    if not (kept / "tile.json").is_file():
        (kept / "tile.json").write_text(json.dumps(tile()), encoding="utf-8")
    for cell in [] if options.gather else cells():
        pattern, method, values = cell
        if (file := place(kept, *cell)).is_file():
            continue
        found = measured(make_config(options.model, pattern, method, values=values, **WINDOWS))
        file.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
        print(f"{pattern} {method} {values}: perplexity {found['pruned']['perplexity']:.1f}", flush=True)
        write(kept)
    write(kept)


def write(kept: Path) -> None:
    """Write the file anew."""
    HOME.write_text(json.dumps(gather(kept), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
