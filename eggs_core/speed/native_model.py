"""What the native token step covers, and such a model as the C structs that it reads."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eggs_core.packed.grid import TABLE_BITS, WHOLE, values_per_scale
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.call import struct_of
from eggs_core.packed.kernel.step_structs import ACTIVATIONS, CBlock, CModel
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.tables import PackedEmbedding

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

COVERED = ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Gemma3")
ROTARY = ("default", "linear", "llama3", "yarn")  # kinds whose frequencies do not change with the text's length


def why_not(model: PreTrainedModel) -> str:
    """Why this model's tokens go through transformers; "" where the native step takes them."""
    kind, config = type(model).__name__, model.config
    if kernels.kernel() is None:
        return "there is no C kernel here"
    if kind not in {f"{name}ForCausalLM" for name in COVERED} or not type(model).__module__.startswith("transformers."):
        return f"{kind} is not covered"
    if getattr(config, "use_bidirectional_attention", False) or _activation(config) not in ACTIVATIONS:
        return "its blocks are not the usual ones"
    rotary = config.rope_parameters
    kinds = [rotary] if "rope_type" in rotary else list(rotary.values())
    if any(one["rope_type"] not in ROTARY for one in kinds):
        return "its positions change with the text's length"
    if any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()):
        return "hooks look into it"
    if not all(t.is_cpu and t.dtype in kernels.DTYPES and t.is_contiguous() for t in model.parameters()):
        return "its weights are not plain ones in this machine's memory"
    blocks: Any = model.get_decoder().layers
    layers = [model.get_output_embeddings(), *(layer for block in blocks for layer in _projections(block))]
    return "" if all(type(layer) in (nn.Linear, PackedLinear) for layer in layers) else "its layers are not plain ones"


def _activation(config: Any) -> str:
    return str(getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", ""))


def _projections(block: Any) -> list[nn.Module]:
    """q, k, v, o, gate, up, down."""
    attention, mlp = block.self_attn, block.mlp
    return [
        *(attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj),
        *(mlp.gate_proj, mlp.up_proj, mlp.down_proj),
    ]


class Structs:
    """A covered model's C structs, and the tensors that these point into; cache, logits and room are yet to be set."""

    def __init__(self, model: PreTrainedModel, windows: list[int]) -> None:
        self.kept: list[Tensor] = []
        config: Any = model.config
        decoder: Any = model.get_decoder()
        embedding: Any = model.get_input_embeddings()
        self.offset = 1.0 if type(model).__name__.startswith("Gemma") else 0.0  # Gemma's norms multiply by 1 + weight
        attention = decoder.layers[0].self_attn
        self.blocks = (CBlock * len(decoder.layers))()
        for number, block in enumerate(decoder.layers):
            self._fill(self.blocks[number], block, decoder.rotary_emb, windows[number])
        self.model = CModel(
            blocks=self.blocks,
            head=self._layer(model.get_output_embeddings()),
            embedding=self._table(embedding),
            norm=self._norm(decoder.norm),
            count=len(decoder.layers),
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            dim=attention.head_dim,
            inner=config.intermediate_size,
            epsilon=config.rms_norm_eps,
            scale=attention.scaling,
            # transformers' Gemma 3 has the number and does not use it
            soft_cap=(getattr(config, "attn_logit_softcapping", None) or 0.0) * (config.model_type == "gemma2"),
            final_cap=getattr(config, "final_logit_softcapping", None) or 0.0,
            embedding_scale=float(embedding.embed_scale.to(embedding.weight.dtype))
            if hasattr(embedding, "embed_scale")
            else 1.0,
            activation=ACTIVATIONS[_activation(config)],
        )

    def _pointer(self, tensor: Tensor) -> int:
        self.kept.append(tensor)
        return tensor.data_ptr()

    def _norm(self, module: Any) -> int | None:
        return None if module is None else self._pointer((module.weight.detach().float() + self.offset).contiguous())

    def _layer(self, layer: Any) -> kernels.CLayer:
        """A dense or packed layer whose product is fp32."""
        if isinstance(layer, PackedLinear):
            found = struct_of(layer)
            self.kept += [b for b in layer.buffers() if b is not None]
        else:
            out, columns = layer.weight.shape
            bias = None if layer.bias is None else self._pointer(layer.bias)
            place, dtype = self._pointer(layer.weight), kernels.DTYPES[layer.weight.dtype]
            found = kernels.CLayer(
                place, None, None, bias, None, out, columns, columns, 0, 0, 1, 1, 0, dtype, dtype, dtype
            )
        found.result = kernels.DTYPES[torch.float32]
        return found

    def _table(self, embedding: Any) -> kernels.CLayer:
        """An embedding, dense or in 8 bits, as a matrix of which rows are read."""
        rows, columns = embedding.num_embeddings, embedding.embedding_dim
        plain = kernels.DTYPES[torch.float32]
        places: tuple[int | None, ...]
        if isinstance(embedding, PackedEmbedding):
            places = self._pointer(embedding.values), None, None, None, self._pointer(embedding.scales)
            kind, each = kernels.ROUNDED[TABLE_BITS], values_per_scale(WHOLE)
        else:
            places = self._pointer(embedding.weight), None, None, None, None
            kind, each = kernels.DTYPES[embedding.weight.dtype], 0
        return kernels.CLayer(*places, rows, columns, columns, 0, each, 1, 1, 0, kind, plain, plain)

    def _fill(self, to: CBlock, block: Any, rotary: Any, window: int) -> None:
        q, k, v, output, gate, up, down = (self._layer(layer) for layer in _projections(block))
        to.attention[:], to.output, to.gate[:], to.down = (q, k, v), output, (gate, up), down
        apart = hasattr(block, "pre_feedforward_layernorm")  # Gemma 2 and 3 have norms behind attention and MLP too
        after, mlp_norm = block.post_attention_layernorm, getattr(block, "pre_feedforward_layernorm", None)
        to.input_norm = self._norm(block.input_layernorm)
        to.attention_norm = self._norm(after if apart else None)
        to.mlp_norm = self._norm(mlp_norm if apart else after)
        to.output_norm = self._norm(getattr(block, "post_feedforward_layernorm", None))
        to.q_norm = self._norm(getattr(block.self_attn, "q_norm", None))
        to.k_norm = self._norm(getattr(block.self_attn, "k_norm", None))
        kind = "" if hasattr(rotary, "inv_freq") else f"{block.self_attn.layer_type}_"
        to.frequencies = self._pointer(getattr(rotary, f"{kind}inv_freq").float().contiguous())
        to.rope_scale = getattr(rotary, f"{kind}attention_scaling")
        to.window = window

    def point(self, keys: Tensor, values: Tensor, logits: Tensor) -> None:
        """Use these for the cache and the logits; all are fp32.

        keys: (blocks, kv heads, capacity / 16, dim, 16); values: (blocks, kv heads, capacity, dim); logits:
        (1, vocabulary).
        """
        self.model.capacity, self.model.logits = values.shape[2], logits.data_ptr()
        for block, own_keys, own_values in zip(self.blocks, keys, values, strict=True):
            block.keys, block.values = own_keys.data_ptr(), own_values.data_ptr()

    def address(self) -> Any:
        """What C takes."""
        return ctypes.byref(self.model)
