"""Home's frame: the question, the dial, the methods, the prompts, and what its figures were computed with."""

from components.places.home.sentence.view import Home, methods
from components.words.html import escape, facts_line
from eggs_core.pattern import NMPattern
from eggs_core.registry import DEFAULT_METHOD, METHODS, default

DENSE = "dense"
FIRST_PATTERN, FIRST_PROMPT = "2:4", 1
PATTERNS = (DENSE, "3:4", "2:4", "1:4")
AS_COMPUTED = default("values")
VALUES = {AS_COMPUTED: "32", "bf16": "16", "int8": "8", "int4": "4"}  # and their bits


def frame(found: Home) -> str:
    """The page; assets/js/home.js fills in what was written."""
    known = methods(found)
    first = DEFAULT_METHOD if DEFAULT_METHOD in known else known[-1]
    dial = "".join(_choice("pattern", p, _dial(p), p == FIRST_PATTERN) for p in PATTERNS)
    chosen = "".join(_choice("method", m, f"<b>{escape(METHODS[m].label)}</b>", m == first) for m in known)
    bits = "".join(_choice("values", v, f"<b>{shown}</b>", v == AS_COMPUTED) for v, shown in VALUES.items())
    prompts = "".join(
        _choice("prompt", str(i), escape(p) + " …", i == FIRST_PROMPT) for i, p in enumerate(found["prompts"])
    )
    return (
        '<div class="home"><h2 class="home-title"><span class="home-removed"></span> Does it still make sense?</h2>'
        f'<div class="home-controls">{_group("Weights kept", "dial", dial)}'
        f"{_group('Chosen by', 'methods', chosen)}{_group('Bits of a weight', 'values', bits)}"
        f'<p class="home-why" aria-live="polite"></p></div>{_group("Go on from", "prompts", prompts)}'
        '<div class="home-texts" aria-live="polite"></div>'
        '<div class="home-go"><button type="button" class="home-button first" data-open="learn">Show me how (10 min)'
        '</button><button type="button" class="home-button" data-open="overview">Prune your own</button></div>'
        '<h3 class="home-below">What removing does to a layer</h3>'
        '<div class="home-mask"><canvas role="img"></canvas><div><p class="home-mask-words"></p>'
        '<button type="button" class="home-button small" data-again>Once more</button></div></div>'
        f"{facts_line(about(found))}</div>"
    )


def about(found: Home) -> str:
    """What was run, on what, and when, in one line."""
    run, tile = found["about"], found["tile"]
    read, calibrated = run["evaluation"], run["calibration"]
    return escape(
        f"{run['model']} from its Q4_1 file, dequantised to fp32; greedy, {run['new_tokens']} tokens, seed "
        f"{run['seed']}; prompts fixed beforehand. Calibrated on {calibrated['windows']} windows of "
        f"{calibrated['window']} tokens ({calibrated['text']}); perplexity on {read['windows']} of {read['window']} "
        f"({read['text']}). Size: packed. Speed: tokens in turn, {run['threads']} thread"
        f"{'s' if run['threads'] > 1 else ''}, {run['kernel']}, {run['machine']}. Computed on {run['created'][:10]} "
        f"({' and '.join(run['devices'])}). The window of weights: {tile['model']}, {tile['layer']}, "
        f"outputs from {tile['row']}, inputs from {tile['column']}."
    )


def _dial(pattern: str) -> str:
    """A stop of the dial: four cells, of which some are kept."""
    keep = 4 if pattern == DENSE else NMPattern.parse(pattern).keep
    cells = "".join(f'<i class="{"kept" if i < keep else "gone"}"></i>' for i in range(4))
    return f'<span class="home-cells" aria-hidden="true">{cells}</span><b>{pattern}</b>'


def _choice(group: str, value: str, shown: str, chosen: bool) -> str:
    marked = " checked" if chosen else ""
    return (
        f'<label><input type="radio" name="home-{group}" value="{escape(value)}"{marked}><span>{shown}</span></label>'
    )


def _group(title: str, kind: str, choices: str) -> str:
    return f'<fieldset class="home-{kind}"><legend>{title}</legend><div>{choices}</div></fieldset>'
