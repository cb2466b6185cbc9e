"""Compute assets/home.json, which Home shows: five prompts, continued by a model dense and pruned; a tile of masks.

    python tools/build_home.py SmolLM2-135M-Instruct.Q4_1.gguf

Every pattern and method is kept in ~/.cache/eggs/home once it is computed, and the file is written anew after each:
what was interrupted goes on where it was. The prompts were fixed before any was run. Decoding is greedy. Tokens of the
dense and the packed model are timed in turn, so other programs change their rates, but hardly their ratio: the dense
rate is the best of all runs, a packed one that times the ratio, of methods with equal layouts the median one.
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
METHODS = ("magnitude", "wanda", "ria", "sparsegpt", "eggs-ptp-plus")
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


def gather(kept: Path) -> dict:
    """All that was computed so far, as one object."""
    found = {(p, m): kept / f"{p.replace(':', 'of')}-{m}.json" for p in PATTERNS for m in METHODS}
    cells = {key: json.loads(file.read_text(encoding="utf-8")) for key, file in found.items() if file.is_file()}
    first = next(iter(cells.values()))
    for key, cell in cells.items():
        if cell["dense"]["texts"] != first["dense"]["texts"]:
            raise SystemExit(f"{key} was computed with another dense model; remove {kept}.")
    pruned: dict = {}
    for (pattern, method), speed in speeds({key: cell["pruned"] for key, cell in cells.items()}).items():
        pruned.setdefault(pattern, {})[method] = cells[pattern, method]["pruned"] | speed
    protocol = first["protocol"] | {"created": max(cell["protocol"]["created"] for cell in cells.values())}
    about = {
        "model": kept.name,
        "new_tokens": NEW_TOKENS,
        "machine": machine()["processor"],
        **protocol,
    }
    texts = {"about": about, "prompts": PROMPTS, "dense": first["dense"], "pruned": pruned}
    return texts | {"tile": json.loads((kept / "tile.json").read_text(encoding="utf-8"))}


def speeds(cells: dict) -> dict:
    """Tokens a second of every pattern and method, and of the dense model."""
    best = max(cell["dense_tokens_per_second"] for cell in cells.values())
    ratios: dict = {}
    for (pattern, method), cell in cells.items():
        layout = pattern, registry.METHODS[method].permutation
        ratios.setdefault(layout, []).append(cell["tokens_per_second"] / cell["dense_tokens_per_second"])
    return {
        (pattern, method): {
            "tokens_per_second": best * statistics.median(ratios[pattern, registry.METHODS[method].permutation]),
            "dense_tokens_per_second": best,
        }
        for pattern, method in cells
    }


def main() -> None:
    """Compute what is missing, the quick methods of every pattern first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file, a folder, or a bundled name")
    model = parser.parse_args().model
    kept = Path.home() / ".cache" / "eggs" / "home" / Path(model).name.partition(".")[0]
    kept.mkdir(parents=True, exist_ok=True)
    if not (kept / "tile.json").is_file():
        (kept / "tile.json").write_text(json.dumps(tile()), encoding="utf-8")
    for method in METHODS:
        for pattern in PATTERNS:
            file = kept / f"{pattern.replace(':', 'of')}-{method}.json"
            if not file.is_file():
                cell = measured(make_config(model, pattern, method, **WINDOWS))
                file.write_text(json.dumps(cell, ensure_ascii=False), encoding="utf-8")
                print(f"{pattern} {method}: perplexity {cell['pruned']['perplexity']:.1f}", flush=True)
            HOME.write_text(json.dumps(gather(kept), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
