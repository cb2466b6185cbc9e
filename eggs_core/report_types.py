"""What report.json holds: the types of its parts, which the core's figures have from the start."""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

from eggs_core.bos import RULES
from eggs_core.validation import Amount, Count, Many, Named, Natural, Number, Perplexity, Positive, Share

Block = Annotated[int, Field(ge=0, le=9999)]
Bos = Annotated[str, Field(pattern=f"^({'|'.join(RULES)})$")]


class Protocol(TypedDict):
    """Which tokens were read: `windows` windows of `window` tokens of a text."""

    text: str
    sha256: str
    window: Natural
    windows: Natural
    bos: NotRequired[Bos]  # early runs do not say


class Calibration(Protocol):
    """What the scores come from."""

    seed: Count


class Scores(TypedDict):
    """One model's figures; nats per token of each window."""

    perplexity: Perplexity
    top1: Share
    top5: Share
    window_nats: Many[Number]


class Evaluation(Protocol):
    """Both models on the same windows."""

    dense: Scores
    pruned: Scores


class Expansion(TypedDict):
    """Certified neighbours for each member of a set of inputs, and of outputs."""

    inputs: Amount
    outputs: Amount


class LayerName(TypedDict):
    """Which layer it is, and where it stands."""

    name: str
    block: Block
    projection: str


class LayerEntry(LayerName):
    """One pruned layer (LayerReport.to_dict): what was chosen, at what cost, and its graph's measures."""

    shape: Many[Natural]  # out_features, in_features
    pattern: NotRequired[str]  # the layer's own; early runs have one for all
    sparsity: Share
    retained_score: Number
    output_error: Number
    seconds: Amount
    choice: Named[Number]
    notes: Many[str]
    min_in_degree: Count
    mean_in_degree: Amount
    max_in_degree: Count
    orphans: Count
    components: Count
    sigma2: Number
    spectral_gap: Number
    ramanujan_margin: Number
    null_gap_mean: Number
    null_gap_std: Number
    gap_z: Number
    certified_expansion: Expansion


class DenseLayer(TypedDict):
    """A layer that stayed dense, and why."""

    name: str
    why: str


class Size(TypedDict):
    """Counted bytes (sizes.size_breakdown)."""

    dense_bytes: Natural
    packed_bytes: Natural
    dense_pruned: Count
    packed_pruned: Count
    values: Count
    positions: Count
    permutations: Count
    scales: NotRequired[Count]  # of rounded values
    tables_saved: NotRequired[Count]  # by embedding and head in 8 bits
    untouched: Count
    embeddings: Count
    head: Count
    rest: Count
    formula: str


class Timing(TypedDict):
    """Median and quartiles of `count` timings."""

    median: Positive
    low: Positive
    high: Positive
    count: Count


class Side(TypedDict):
    """The speed of one of the models that took turns."""

    dtype: str
    ms_per_token: Timing
    decode_tokens_per_s: Timing
    first_token_ms: Timing
    prefill_tokens_per_s: Timing


class Latency(TypedDict):
    """Measured speed (generation.measure_generation); further models are named dense_… or packed_…"""

    kernel: str
    threads: Count
    dense: Side
    packed: Side
    zeros: NotRequired[Side]
    device: NotRequired[str]
    prompt_tokens: NotRequired[Count]
    new_tokens: NotRequired[Count]
    texts_equal: NotRequired[bool]
    texts: NotRequired[Named[Many[Count]]]
    decode_speedup: NotRequired[Positive]
    decode_path: NotRequired[str]  # what computed the tokens after the first: native_step.decode_path


class Seconds(TypedDict):
    """How long the run took, and pruning in it."""

    total: Amount
    prune: Amount


class RecoveryLoss(TypedDict):
    """After so many steps and tokens: divergence from the dense model on held-out text, nats a token."""

    step: Count
    tokens: Count
    loss: Amount


class Recovery(Protocol):
    """What followed pruning: the text that was learned from, and the model before it and after it.

    `windows` were learned from, `held_out` ones measured on. Both scores are on the windows of the evaluation; `after`
    are those of the model that the run stands for.
    """

    held_out: Natural
    tokens: Natural
    rate: Positive
    seed: Count
    losses: Many[RecoveryLoss]
    before: Scores
    after: Scores
    seconds: Amount
    weights: NotRequired[str]  # the file of the recovered values


class Rotated(TypedDict):
    """What became of the rotation that a run asked for.

    `before` and `after` are the shares of importance that the pattern drops, by layer. A model that it does not fold
    into stays as it was: then `why` is there instead.
    """

    steps: NotRequired[Natural]
    seconds: NotRequired[Amount]
    before: NotRequired[Named[Share]]
    after: NotRequired[Named[Share]]
    added_bytes: NotRequired[Count]  # of a head that was tied to the embeddings
    why: NotRequired[str]


class Choices(TypedDict):
    """What is read of a configuration as it stands; PruneConfig.from_dict reads the whole."""

    model: str
    pattern: str
    method: str
    seed: Count
    score: str
    selection: str
    permutation: str
    reconstruction: str
    layers: NotRequired[Many[str]]  # rules
    recovery: NotRequired[str]


class Report(TypedDict):
    """Everything of a run but its tensors.

    `latency` is None for a model that went block by block from disk, and where there is no packed form.
    """

    schema: NotRequired[int]
    key: str
    model: str
    pattern: str
    method: str
    seed: Count
    config: Choices
    calibration: Calibration
    layers: Many[LayerEntry]
    evaluation: Evaluation
    size: Size
    latency: Latency | None
    seconds: Seconds
    device: str
    created: str
    versions: Named[str]
    parameters: NotRequired[Count]
    fingerprint: NotRequired[str]  # of the original weights; early runs have none
    pruned_share: NotRequired[Share]  # of the weights in matrices of the blocks
    dense_layers: NotRequired[Many[DenseLayer]]
    left_out: NotRequired[Many[str]]  # what the model's files hold beside its language model, such as vision
    dequantised: NotRequired[str]  # how they keep the weights, such as fp8
    recovery: NotRequired[Recovery]
    rotation: NotRequired[Rotated]
    checkpoint: NotRequired[str]  # the folder of the pruned model of a streamed run


class Listed(Report):
    """A report in a list of runs, with the name that its run was given, or ""."""

    label: str
