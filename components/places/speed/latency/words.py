"""Words of the Latency & size tab: sentences made from figures, the table of layer shapes, and the cards for a GPU."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.places.speed.latency.figures import token_time
from components.words.html import becomes, card, escape, hint, reading, table, term
from components.words.phrases import EVEN, even, speed_beside
from eggs_core.report_types import Latency
from eggs_core.runs.measurement import Case, Measurement
from eggs_core.runs.patterns import layer_pattern, others_words, pattern_counts
from eggs_core.runs.run import Run, layer_shape
from eggs_core.units import size

WAITING = "Size and latency are measured when all layers are pruned."
UNMEASURED = hint("Not measured on this machine yet; it takes some ten seconds.")
GPU_MEASURED = (
    "Measured on an H100 with PyTorch 2.11, not on this machine: a 2:4 product takes half a millisecond to call, more "
    "than a dense one in all; of the GPU’s own time it saves a third at best, in large layers with 2,048 tokens. "
    "So here a GPU multiplies dense weights with zeros. docs/results.md and docs/export.md say more."
)


def size_reading(run: Run, file_bytes: int | None = None) -> str:
    """Why the file is not smaller by itself, and what packing does, in words."""
    if not run.packs:
        return reading(
            f"{escape(str(run.pattern))} keeps weights anywhere in a row: a reference for what structure costs. "
            f"It has no packed form and stays at <b>{size(run.report['size']['dense_bytes'])}</b>.",
            "n-m",
        )
    space, ((pattern, _), *others) = run.report["size"], pattern_counts(run.report)
    also = f", and {others_words(others)} likewise" if others else ""
    share = space["packed_pruned"] / max(space["dense_pruned"], 1)
    rest = "Embeddings and head in 8 bits, and norms" if space.get("tables_saved") else "Embeddings, head and norms"
    on_disk = "" if file_bytes is None else f" Written to disk, the packed file has {size(file_bytes)}."
    return reading(
        f"A zero takes as many bytes as any other number, so a pruned model stored as usual stays at "
        f"<b>{size(space['dense_bytes'])}</b>. Packed, each group of {pattern.group} stores its {pattern.keep} kept "
        f"{_plural(pattern.keep, 'value')}{_rounded(run)} and where {'it sits' if pattern.keep == 1 else 'they sit'} "
        f"({pattern.position_bits} bits each){also}: the pruned layers shrink to <b>{share:.1%}</b>, the model to "
        f"<b>{size(space['packed_bytes'])}</b>. {rest}, {size(space['untouched'])}, are not "
        f"pruned and limit what can be saved.{on_disk}",
        "n-m",
    ) + formula_line(run)


def _rounded(run: Run) -> str:
    """In how few bits kept values are stored, where they are rounded."""
    return "" if run.config.bits is None else f" in {run.config.bits} bits each"


def formula_line(run: Run) -> str:
    """The bytes per weight, spelt out."""
    return hint(f"Bytes per weight: {escape(run.report['size']['formula'])}", kind="formula")


def _fastest(latency: Mapping[str, Any], kind: str) -> tuple[float, str]:
    """Tokens per second and dtype of the fastest dense or packed model that was timed."""
    sides = [latency[side] for side in latency if side == kind or side.startswith(f"{kind}_")]
    return max((side["decode_tokens_per_s"]["median"], side.get("dtype", "")) for side in sides)


def latency_reading(latency: Latency | None, where: str = "") -> str:
    """What was timed, and whether packing made it faster, in words."""
    if latency is None:
        return reading(
            "No speed was measured with this run: its model went through block by block, or has no packed form."
        )
    new, old = latency["packed"], latency["dense"]
    decode = new["decode_tokens_per_s"]["median"] / old["decode_tokens_per_s"]["median"]
    prefill = new["prefill_tokens_per_s"]["median"] / old["prefill_tokens_per_s"]["median"]
    dense, packed = (_fastest(latency, kind) for kind in ("dense", "packed"))
    both = (
        f" In the faster of both dtypes, packed ({packed[1]}) writes {packed[0] / dense[0]:.2f} × as many tokens per "
        f"second as dense ({dense[1]})."
        if any(side.startswith("dense_") for side in latency)
        else ""
    )
    threads = f"{latency['threads']} {_plural(latency['threads'], 'thread')}"
    small = (
        " In a model this small most of the time goes into Python and small operators, not into weights: "
        "larger models gain more."
        if decode < 1.5 and latency.get("decode_path", "transformers").startswith("transformers")
        else ""
    )
    return reading(
        f"Packed, {term('decode', 'decoding')} is {speed_beside('dense', decode)}; {term('prefill')} is "
        f"{speed_beside('dense', prefill)}: with many tokens at once computing counts more than reading weights. Zeros "
        f"stored densely run at dense speed.{both}{small}",
        "costs",
    ) + hint(
        f"{escape(where)} Timed in turn, {threads} each, {escape(latency['dense']['dtype'])}; kernel: "
        f"<b>{escape(latency['kernel'])}</b>{_path(latency)}. Bars are medians, whiskers quartiles."
    )


def _path(latency: Mapping[str, Any]) -> str:
    """What computed the tokens after the first, where the measurement says so."""
    return f"; tokens: <b>{escape(latency['decode_path'])}</b>" if "decode_path" in latency else ""


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def layer_table(found: Measurement | None, cases: list[Case]) -> str:
    """Packed against dense for each layer shape and number of tokens, as a table coloured by the ratio.

    Where layers have different patterns, a shape stands with each.
    """
    from eggs_core.speed.layers import TOKENS  # here, as it imports torch at once

    layers, mixed = found.layers if found else [], len({pattern for *_, pattern in cases}) > 1
    timings = {(t["out_features"], t["in_features"], t["pattern"], t["tokens"]): t for t in layers}
    head = "".join(f'<th scope="col">{n:,} {_plural(n, "token")}</th>' for n in TOKENS)
    body = "".join(_shape_rows(case, timings, TOKENS, mixed) for case in cases)
    first = '<th scope="col">outputs × inputs</th><th scope="col">numbers</th>'
    return table("Packed against dense by layer shape", first + head, body)


def _shape_rows(case: Case, timings: dict[tuple, dict], tokens: Sequence[int], mixed: bool) -> str:
    rows, title = [], f"{case[0]:,} × {case[1]:,}{f' at {case[2]}' if mixed else ''}"
    for kind in ("fp32", "bf16", "best"):
        cells = "".join(_cell(timings.get((*case, n)), kind) for n in tokens)
        name = f'<th scope="rowgroup" rowspan="3">{title}</th>' if kind == "fp32" else ""
        label = "best of both" if kind == "best" else kind
        rows.append(f'<tr class="{kind}">{name}<th scope="row">{label}</th>{cells}</tr>')
    return "".join(rows)


def _cell(timing: dict[str, Any] | None, kind: str) -> str:
    if timing is None:
        return '<td class="pending">·</td>'
    if kind == "best":
        dense, ratio = timing["dense"][timing["best_dense"]], timing["best_speedup"]
        best = min(timing["packed"], key=lambda d: timing["packed"][d]["median"])
        packed, path = timing["packed"][best], f"dense {timing['best_dense']} → packed {best}, {timing['paths'][best]}"
    else:
        dense, packed, ratio = timing["dense"][kind], timing["packed"][kind], timing["speedup"][kind]
        path = timing["paths"][kind]
    tone = "even" if even(ratio) else "faster" if ratio > 1 else "slower"
    strength = min(70, 14 + round(40 * abs(ratio - 1) if ratio > 1 else 40 * (1 / ratio - 1)))
    spread = f"quartiles dense {_micro(dense['low'])}–{_micro(dense['high'])}, packed {_micro(packed['low'])}–"
    return (
        f'<td class="{tone}" style="--strength:{strength}%" data-ratio="{ratio:.4f}" '
        f'data-dense="{dense["median"]:.9f}" data-packed="{packed["median"]:.9f}" '
        f'title="{escape(path)}; {spread}{_micro(packed["high"])}"><b>{ratio:.2f} ×</b>'
        f"<span>{_micro(dense['median'])} → {_micro(packed['median'])}</span></td>"
    )


def _micro(value: float) -> str:
    return f"{1e6 * value:.0f} µs" if value < 1e-3 else f"{1e3 * value:.1f} ms"


def layers_reading(found: Measurement) -> str:
    """Where packing helps and where it does not, and which path ran."""
    faster = [t for t in found.layers if t["best_speedup"] > 1 + EVEN]
    slower = [t for t in found.layers if t["best_speedup"] < 1 - EVEN]
    most = max(found.layers, key=lambda t: t["best_speedup"])
    least = min(found.layers, key=lambda t: t["best_speedup"])
    mixed = len({t["pattern"] for t in found.layers}) > 1
    paths = dict.fromkeys(f"{d}: {path}" for t in found.layers for d, path in t["paths"].items())

    def where(t: dict[str, Any]) -> str:
        own = f" ({t['pattern']})" if mixed else ""
        return f"{t['out_features']:,} × {t['in_features']:,}{own} at {t['tokens']:,}"

    bad = (
        f"; in <b>{len(slower)}</b> it is slower, most at {where(least)} tokens ({least['best_speedup']:.2f} ×)"
        if slower
        else ""
    )
    return reading(
        f"Against the faster of torch’s fp32 and bf16, packed is faster in <b>{len(faster)}</b> of "
        f"{len(found.layers)} cases, most at {where(most)} {_plural(most['tokens'], 'token')} "
        f"({most['best_speedup']:.2f} ×){bad}. With few tokens, reading weights takes the time, and there are fewer "
        "bytes to read; with many, multiplying does.",
        "n-m",
    ) + hint(
        f"{found.layers[0]['threads']} {_plural(found.layers[0]['threads'], 'thread')} each, in turn; "
        f"{escape(' · '.join(paths))}. Kernel: {escape(found.kernel_note)}. Load average before: {found.load:.1f}."
    )


def limit_reading(found: Measurement) -> str:
    """Which part of a token's time could still gain, in words."""
    if not found.bandwidth:
        return reading("On an accelerator memory bandwidth is not measured here.")
    times = token_time(found)
    packed, dense = times["packed"], times["dense"]
    if packed["total"] < packed["layers"] + packed["head"]:
        return reading(
            f"One packed token takes <b>{packed['total']:.2f} ms</b>, less than memory needs for what it reads at "
            f"{found.bandwidth:.0f} GB/s: so small a model stays in the processor’s cache. A larger one gains more.",
            "costs",
        )
    name = {"layers": "reading the packed layers", "head": "reading the unpruned output head", "rest": "the rest"}
    largest = max(name, key=packed.__getitem__)
    advice = {
        "layers": "fewer bytes (a sparser pattern, bf16) would still make it faster.",
        "head": "pruning more of the layers cannot gain much; the head would have to shrink.",
        "rest": "Python and small operators: here packing can gain little, a larger model gains more.",
    }[largest]
    saved = dense["layers"] - packed["layers"]
    return reading(
        f"One packed token takes <b>{packed['total']:.2f} ms</b>. At the {found.bandwidth:.0f} GB/s that this machine "
        f"reads, its layers’ {size(found.packed_bytes['linear'])} need {packed['layers']:.2f} ms "
        f"({packed['layers'] / packed['total']:.0%}), the head’s {size(found.packed_bytes['head'])} "
        f"{packed['head']:.2f} ms ({packed['head'] / packed['total']:.0%}). Packing saves {saved:.2f} ms of reading a "
        f"token. The largest part is {name[largest]}: {advice}",
        "costs",
    )


def gpu_cards(run: Run) -> str:
    """What the pruned layers would need on a GPU; counted, not timed."""
    from eggs_core.packed.accelerator import gpu_plan  # here, as it imports torch at once

    plan = gpu_plan((layer_shape(layer), layer_pattern(layer, run.report)) for layer in run.report["layers"])
    share = plan["sparse_bytes"] / max(plan["dense_bytes"], 1)
    fitting = " in those that fit" if plan["fits"] < plan["layers"] else ""
    smaller = f"{share:.1%} of dense: half the values and 2 bits for each{fitting}"
    cards = [
        card(
            "Pruned layers in fp16",
            becomes(size(plan["dense_bytes"]), size(plan["sparse_bytes"])),
            smaller if plan["fits"] else "no smaller: zeros are stored",
        ),
        card(
            "Layers that the 2:4 units take",
            f'<span class="after">{plan["fits"]} of {plan["layers"]}</span>',
            "worth it for many tokens in large layers only; one token is slower than dense",
        ),
    ]
    reason = hint(f"On a GPU: {escape(plan['reason'])}") + (hint(GPU_MEASURED) if plan["fits"] else "")
    return f'<div class="cards gpu">{"".join(cards)}</div>{reason}'
