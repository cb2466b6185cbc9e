"""The README.md that goes with an exported model: what it is, what it reaches, how it was made."""

import json
import os
import re
from pathlib import Path
from typing import Any

from eggs_core.bos import bos_words
from eggs_core.registry import DIMENSIONS, OPTIONS, STAGES, entry
from eggs_core.report_types import Protocol
from eggs_core.runs.patterns import others_words, pattern_counts, pattern_words
from eggs_core.runs.report import left_dense
from eggs_core.runs.rotated import rotation_words
from eggs_core.runs.run import Run

NOT_RECORDED = "not recorded"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
GGUF_OPENING = "FROM ./THE_FILE.gguf   # a Modelfile, for `ollama create`; LM Studio and llama.cpp open the file itself"
OPENING = {
    "hf": 'model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")   # from transformers',
    "packed": (
        "import eggs_core   # with which transformers knows packed weights; the zeros are not stored\n"
        'model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")   # from transformers'
    ),
    "gguf": GGUF_OPENING,
    "gguf-q8_0": GGUF_OPENING,
    "masks": 'unpack_bits(load_file("masks.safetensors")[layer], shape)   # from eggs_core.masks.bits',
}


def shown_name(model: str) -> str:
    """A model's name for readers elsewhere: a Hub id or bundled name as it is, a path's last part."""
    return model if HUB_ID.fullmatch(model) and not os.path.exists(model) else Path(model).name


def model_card(run: Run, layout: str) -> str:
    """The card in Markdown, for a model exported in one of OPENING's formats; holds no path of this machine."""
    report, config = run.report, run.config
    name, pattern = shown_name(report["model"]), report["pattern"]
    header: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pruned", f"sparsity-{pattern}"],
    }
    if HUB_ID.fullmatch(name):
        header["base_model"] = name
    (main, _), *others = pattern_counts(report)
    but = f", but for {others_words(others)}" if others else ""
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in header.items())
    evaluation, size = report["evaluation"], report["size"]
    dense, pruned = evaluation["dense"], evaluation["pruned"]
    return f"""---
{front}
---

# {_text(name)}, pruned to {pattern_words(report)} by {config.label}

Of every {main.group} consecutive weights of its decoder's {len(report["layers"])} linear layers
{main.keep} are kept{but}{_values(run)}; {_tables(run)}.{_rules(run)}{_order(run)}
The licence of the original model applies.

```{"" if "gguf" in layout else "python"}
{OPENING[layout]}
```

| | dense | pruned |
|---|---|---|
| perplexity | {dense["perplexity"]:.2f} | {pruned["perplexity"]:.2f} |
| next token right | {dense["top1"]:.1%} | {pruned["top1"]:.1%} |
| among the first five | {dense["top5"]:.1%} | {pruned["top5"]:.1%} |
| bytes, zeros stored → packed | {size["dense_bytes"]:,} | {size["packed_bytes"]:,} |

Evaluated on {_tokens(evaluation)}
(SHA-256 `{evaluation["sha256"]}`).

## How it was made

{_making(run)}

```
{config.changed(model=name).command_line()}
```

Made with EGGS Explorer.
"""


def _making(run: Run) -> str:
    """The choices, the text that guided them, and what the figures depend on, as a table."""
    report, config = run.report, run.config
    choices: dict[str, Any] = {DIMENSIONS[name].label.lower(): value for name, value in config.choices().items()}
    choices |= {STAGES[stage].label.lower(): entry(stage, name).label for stage, name in config.stages}
    choices |= {OPTIONS[name].symbol: value for name, value in config.options}
    calibration = report["calibration"]
    rows = choices | {
        "calibration": f"{_tokens(calibration)}, seed {report['seed']}",
        "calibration text's SHA-256": f"`{calibration['sha256']}`",
        "original weights' fingerprint": f"`{report.get('fingerprint', NOT_RECORDED)}`",
        "made": f"{report.get('created', NOT_RECORDED)}, {_text(report.get('device', NOT_RECORDED))}",
        "versions": ", ".join(f"{k} {v}" for k, v in report.get("versions", {}).items()) or NOT_RECORDED,
        "configuration": f"`{report['key']}`",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _tables(run: Run) -> str:
    """What became of all that is no such layer."""
    if run.report["size"].get("tables_saved"):
        return "embedding and LM head are rounded to 8 bits, norms are untouched"
    return "embeddings, norms and LM head are untouched"


def _values(run: Run) -> str:
    """How kept values are stored, with the bits of a weight, where they are rounded."""
    bits = run.config.bits
    if bits is None:
        return ""
    return f", their values in {bits} bits ({run.bits_per_weight:.2f} bits for each weight of these layers)"


def _rules(run: Run) -> str:
    rules = run.config.layers
    said = f"By rule: {'; '.join(rules)}." if rules else ""
    return "".join(f" {one}" for one in (said, left_dense(run.report), rotation_words(run.report)) if one)


def _order(run: Run) -> str:
    if not run.permutations:
        return ""
    return (
        " Each layer's groups are those of a channel order of its own, so in the stored order of columns the zeros do "
        "not fall into groups; the orders are kept in the packed file and beside the masks."
    )


def _tokens(protocol: Protocol) -> str:
    return f"{protocol['windows']} × {protocol['window']} tokens of “{_text(protocol['text'])}”{bos_words(protocol)}"


def _text(words: str) -> str:
    """A user's words inside Markdown: one line, nothing that formats."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(words.split()))
