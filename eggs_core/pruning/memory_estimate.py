"""How much memory pruning block by block takes: a formula over a model's shapes, checked against measurements."""

from dataclasses import dataclass

from eggs_core.config import PruneConfig
from eggs_core.evaluation.perplexity import LOGITS_PER_BATCH
from eggs_core.models.architectures import block_layers
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.pruning.activations import MOST_GRAM_BYTES, TOKENS_PER_BATCH

LIBRARIES = 550e6  # bytes of a process that has imported torch and transformers
WORK = 17  # fp32 copies of the largest layer: scores, sorting and, the most of it, its graph's measures; measured
CHUNKS = 4  # activations of the widest layer that are alive at once
KEPT = 6  # such activations that a backward pass through a block keeps; saved tensors of Llama blocks: 4.5 to 5.3
FITTED = 6  # fp32 copies of a block while it is fitted: itself, gradients, Adam's two averages, kept values, a margin
GRAMS = 4  # a gram, its damped copy, factor and inverse


@dataclass(frozen=True, slots=True)
class Shapes:
    """Numbers of values: of the embeddings, the LM head (0 if tied), a block, its largest layer; and input widths.

    `experts` are those of all experts' grams in a block, 0 without experts.
    """

    embedding: int
    head: int
    block: int
    layer: int
    widths: tuple[int, ...]  # of a block's distinct layers' inputs
    experts: int = 0

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Shapes":
        """Those of a checkpoint, its largest block standing for all: the first ones may lack experts."""
        model = checkpoint.model
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        sizes = [checkpoint.values(checkpoint.names(number)) for number in range(len(checkpoint.blocks))]
        largest = sizes.index(max(sizes))
        layers = block_layers(checkpoint.path, largest, checkpoint.blocks[largest])
        return cls(
            table.numel(),
            0 if head is table else head.numel(),
            sizes[largest],
            max(layer.shape[0] * layer.shape[1] for layer in layers),
            tuple(layer.shape[1] for layer in layers),
            sum(layer.shape[1] ** 2 for layer in layers if layer.mixture),
        )


def peak_bytes(shapes: Shapes, config: PruneConfig, itemsize: int = 4) -> int:
    """Peak bytes of host memory, on a CPU that computes in fp32, of pruning block by block with this configuration.

    The peak is LIBRARIES and the largest of four moments. Before the first block there are embeddings and a block.
    While a block is pruned there are the block, its grams, copies of its largest layer and a chunk of activations;
    stage by stage, also the block as it was and what a backward pass keeps. A fit has copies of the block in their
    place. In evaluation there are embeddings, LM head and logits. itemsize: bytes of a value.
    """
    tokens = min(TOKENS_PER_BATCH, config.calibration_windows * config.calibration_length)
    staged = config.stagewise
    chunk = CHUNKS * tokens * max(shapes.widths)
    backward = KEPT * tokens * max(shapes.widths) if staged else 0
    grams = 0
    if config.refits:
        grams = sum(w * w for w in set(shapes.widths)) + GRAMS * max(shapes.widths) ** 2
        grams += min((2 if staged else 1) * shapes.experts, MOST_GRAM_BYTES // 4)  # with each gram its cross product
    blocks = (2 if staged else 1) * shapes.block
    moments = (
        shapes.embedding + shapes.block + chunk,
        blocks + grams + WORK * shapes.layer + chunk + backward,
        FITTED * shapes.block * 4 // itemsize + chunk + backward if config.fits else 0,
        shapes.embedding + shapes.head + LOGITS_PER_BATCH,
    )
    return int(LIBRARIES + itemsize * max(moments))
