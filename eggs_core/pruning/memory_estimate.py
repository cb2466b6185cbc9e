"""How much memory pruning block by block takes: a formula over a model's shapes, checked against measurements."""

from dataclasses import dataclass

from eggs_core.config import PruneConfig
from eggs_core.evaluation.perplexity import LOGITS_PER_BATCH
from eggs_core.models.architectures import block_layers
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.pruning.activations import TOKENS_PER_BATCH

LIBRARIES = 550e6  # bytes of a process that has imported torch and transformers
WORK = 17  # fp32 copies of the largest layer: scores, sorting and, the most of it, its graph's measures; measured
CHUNKS = 4  # activations of the widest layer that are alive at once
KEPT = 6  # such activations that a backward pass through a block keeps; saved tensors of Llama blocks: 4.5 to 5.3
GRAMS = 4  # a gram, its damped copy, factor and inverse


@dataclass(frozen=True, slots=True)
class Shapes:
    """Numbers of values: of the embeddings, the LM head (0 if tied), a block, its largest layer; and input widths."""

    embedding: int
    head: int
    block: int
    layer: int
    widths: tuple[int, ...]  # of a block's distinct layers' inputs

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Shapes":
        """Those of a checkpoint, its first block standing for all."""
        model = checkpoint.model
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        layers = block_layers(checkpoint.path, 0, checkpoint.blocks[0])
        return cls(
            table.numel(),
            0 if head is table else head.numel(),
            sum(checkpoint.stored[n].count for n in checkpoint.names(0)),
            max(layer.shape[0] * layer.shape[1] for layer in layers),
            tuple(layer.shape[1] for layer in layers),
        )


def peak_bytes(shapes: Shapes, config: PruneConfig, itemsize: int = 4) -> int:
    """Peak bytes of host memory, on a CPU that computes in fp32, of pruning block by block with this configuration.

    The largest of three moments beside LIBRARIES: the tokens' way to the first block (embeddings and a block), pruning
    (a block, its grams, copies of its largest layer, a chunk of activations; stage by stage, also the block as it was
    and what a backward pass keeps), and evaluation (embeddings, LM head, logits). itemsize: bytes a value.
    """
    tokens = min(TOKENS_PER_BATCH, config.calibration_windows * config.calibration_length)
    staged = config.stagewise
    chunk = CHUNKS * tokens * max(shapes.widths)
    backward = KEPT * tokens * max(shapes.widths) if staged else 0
    grams = 0
    if config.refits:
        grams = sum(w * w for w in set(shapes.widths)) + GRAMS * max(shapes.widths) ** 2
    blocks = (2 if staged else 1) * shapes.block
    moments = (
        shapes.embedding + shapes.block + chunk,
        blocks + grams + WORK * shapes.layer + chunk + backward,
        shapes.embedding + shapes.head + LOGITS_PER_BATCH,
    )
    return int(LIBRARIES + itemsize * max(moments))
