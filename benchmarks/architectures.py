"""Every causal-LM architecture of the installed transformers, built small, pruned, exported and opened again.

    python benchmarks/architectures.py --quick            # some forty of them
    python benchmarks/architectures.py --docs             # all, and docs/architectures.md anew

Of each: hidden states block by block equal those of the whole pass; logits in memory, after a Hugging Face export and
after a packed one, opened by ourselves and by transformers, are the same; and how much of the blocks was pruned.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.outcome import check, conclude  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.errors import EggsError  # noqa: E402
from eggs_core.models.architectures import find_blocks  # noqa: E402
from eggs_core.models.expert_linear import ExpertLinear  # noqa: E402
from eggs_core.models.experts import open_experts  # noqa: E402
from eggs_core.packed.file import load_packed  # noqa: E402
from eggs_core.packed.hf_folder import save_hf  # noqa: E402
from eggs_core.packed.model import packed_copy  # noqa: E402
from eggs_core.packed.writing import save_packed  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.pruning.block_check import check_block_by_block  # noqa: E402
from eggs_core.pruning.loop import prune  # noqa: E402
from eggs_core.pruning.plan import plan_for  # noqa: E402
from eggs_core.runs.new_report import Coverage  # noqa: E402
from tools.tiny_architectures import ARCHITECTURES, VOCABULARY, build  # noqa: E402

DOCS = ROOT / "docs" / "architectures.md"
PATTERN = NMPattern(2, 4)
MOST_ERROR = 1e-4  # relative difference of logits
WINDOWS, LENGTH = 4, 24
QUICK = tuple(
    " ".join(
        (
            "bart bloom codegen cohere2 dbrx deepseek_v3 deepseek_v4 dory falcon",
            "falcon_mamba gemma gemma2 gemma3_text gemma3n_text gemma4_text glm4_moe gpt2 gpt_neox",
            "gpt_oss granitemoehybrid hrm_text jamba jetmoe llama llama4_text longcat_flash mamba",
            "minicpm3 mistral mixtral nemotron_h olmo_hybrid openai-gpt opt phi3 qwen2",
            "qwen3_5 qwen3_moe qwen3_next rwkv zamba2 zaya",
        )
    ).split()
)


@dataclass(slots=True)
class Outcome:
    """What became of one architecture; `state` is works, refused, wrong or not built, `why` says more."""

    kind: str
    state: str = "works"
    why: str = ""
    share: float = 0.0  # of the blocks' weights that are in pruned layers
    dense: dict[str, int] = field(default_factory=dict)  # why layers stayed dense, and how many
    experts: int = 0  # layers of single experts
    error: float = 0.0  # the largest relative difference of logits


def try_architecture(kind: str, method: str = "eggs-ptp") -> Outcome:
    """Build, prune, export and open one architecture."""
    found = Outcome(kind)
    tokens = torch.randint(5, VOCABULARY - 5, (WINDOWS, LENGTH), generator=torch.Generator().manual_seed(0))
    try:
        model = build(kind)
        _logits(model, tokens)
    except Exception as error:  # whatever its configuration needs
        found.state, found.why = "not built", f"{type(error).__name__}: {error}".splitlines()[0][:160]
        return found
    try:
        found.error = _pruned(model, tokens, method, found)
    except EggsError as error:
        found.state, found.why = "refused", str(error)
    except Exception as error:
        found.state, found.why = "wrong", f"{type(error).__name__}: {error}".splitlines()[0][:200]
    if found.state == "works" and not found.error <= MOST_ERROR:
        found.state, found.why = "wrong", f"logits differ by {found.error:.2g}"
    return found


@torch.no_grad()
def _pruned(model: PreTrainedModel, tokens: torch.Tensor, method: str, found: Outcome) -> float:
    """Prune a model in place and return the largest difference of its logits in all its forms."""
    dense = _logits(model, tokens)
    open_experts(model)
    opened = _difference(_logits(model, tokens), dense)
    check_block_by_block(model, find_blocks(model)[1], tokens)
    plan = plan_for(model, PATTERN)
    layers = list(prune(model, tokens, make_config(found.kind, PATTERN, method)))
    coverage = Coverage.of(model, plan, {layer.name for layer in layers})
    found.share, found.dense = coverage.share, dict(Counter(coverage.dense.values()))
    found.experts = sum(isinstance(module, ExpertLinear) for module in model.modules())
    expected = _logits(model, tokens)
    orders = {layer.name: layer.permutation for layer in layers if layer.permutation is not None}
    packed = packed_copy(model, {layer.name: layer.mask for layer in layers}, plan.patterns, orders)
    with tempfile.TemporaryDirectory() as folder:
        place = save_packed(packed, Path(folder) / "packed").parent
        forms = [packed, load_packed(place), type(model).from_pretrained(place)]
        for number, form in enumerate((model, packed)):
            place = save_hf(form, None, Path(folder) / str(number))
            forms.append(type(model).from_pretrained(place).eval())
        return max(opened, *(_difference(_logits(form, tokens), expected) for form in forms))


@torch.no_grad()
def _logits(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits
    if not torch.isfinite(logits).all():
        raise ValueError("its logits are not finite")
    return logits


def _difference(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, ‖a − b‖ / ‖b‖."""
    return ((logits - expected).norm() / expected.norm()).item()


def write_docs(found: Iterable[Outcome], file: Path) -> None:
    """The page that says of each architecture what works."""
    rows = list(found)
    states = Counter(row.state for row in rows)
    built = len(rows) - states["not built"]
    lines = [
        "# Architectures",
        "",
        f"Written by `python benchmarks/architectures.py --docs` with transformers "
        f"{importlib.metadata.version('transformers')}; do not edit. Each architecture of its causal-LM mapping is "
        f"built small with random weights, pruned to 2:4, exported in both forms and opened again. Of {len(rows)}, "
        f"{built} can be built so; {states['works']} of these work, {states['refused']} are refused, "
        f"{states['wrong']} are wrong.",
        "",
        "*Pruned* is the share of the weights in matrices of the decoder blocks that lie in pruned layers, in the "
        "small model; below 90 % the reasons stand beside it. *Experts*: each expert of a mixture is a layer.",
        "",
        "| architecture | | pruned | experts | notes |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row.kind):
        notes = row.why or ("; ".join(f"{n} {why}" for why, n in row.dense.items()) if row.share < 0.9 else "")
        share = f"{row.share:.0%}" if row.state == "works" else ""
        notes = notes.replace("|", "/")
        lines.append(f"| {row.kind} | {row.state} | {share} | {'yes' if row.experts else ''} | {notes} |")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Try them, print what does not work, write JSON and the page if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="model types; default: all")
    parser.add_argument("--quick", action="store_true", help=f"{len(QUICK)} of them")
    parser.add_argument("--method", default="eggs-ptp")
    parser.add_argument("--docs", action="store_true", help=f"write {DOCS.relative_to(ROOT)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, table, machine and versions here")
    options = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    rows = []
    for kind in options.kinds or (QUICK if options.quick else ARCHITECTURES):
        rows.append(row := try_architecture(kind, options.method))
        if row.state != "works" or row.share < 0.9:
            print(f"{kind:24} {row.state:10} {row.share:5.0%} {row.why or row.dense}", flush=True)
    states = Counter(row.state for row in rows)
    built = len(rows) - states["not built"]
    families = sum(row.state == "works" and row.experts > 0 for row in rows)
    checks = [
        check("architectures_share", states["works"] / max(built, 1), 0.97 if not options.quick else 0.94, True),
        check("architectures_wrong", states["wrong"], 0),
    ]
    if not (options.quick or options.kinds):
        checks.append(check("moe_families", families, 40, True))
    if options.docs:
        write_docs(rows, DOCS)
    return conclude(
        checks, options.json, packages=("transformers",), quick=options.quick, architectures=[asdict(r) for r in rows]
    )


if __name__ == "__main__":
    raise SystemExit(main())
