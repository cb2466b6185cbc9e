"""A tiny random model of every causal-LM architecture that the installed transformers knows."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

ARCHITECTURES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)  # by their model type
VOCABULARY = 128
BLOCKS = 4
# What a number of a configuration becomes, by its name; numbers that are not here stay as they are.
SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "word_embed_proj_dim"), 32),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size", "d_inner"), 64),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim", "dim_ff", "dff", "ffn_hidden", "feed_forward_size"), 64),
    **dict.fromkeys(("moe_intermediate_size", "expert_dim", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("expert_ffn_hidden_size", "shared_experts_intermediate_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), BLOCKS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "encoder_attention_heads"), 2),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 8),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "num_shared_experts"), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_sequence_length", "n_ctx", "max_seq_len"), 64),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "head_dim", "kv_channels"), 8),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "linear_num_heads", "mamba_n_heads"), 4),
    **dict.fromkeys(("index_n_heads", "indexer_n_heads"), 4),
    **dict.fromkeys(("index_head_dim", "indexer_head_dim", "mamba_d_state", "state_size", "chunk_size"), 16),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("sliding_window", "attention_window_size"), 16),
    "encoder_layers": 2,
    "first_k_dense_replace": 1,
}
# What else an architecture needs to be built small, by its model type; {} for its text part.
KINDS = ("sliding_attention", "full_attention")
ALTERNATING = [*KINDS, *KINDS]
PLAIN_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SHARED_KEYS = {"num_kv_shared_layers": 2, "layer_types": ALTERNATING, "hidden_size_per_layer_input": 8}
LATENT = {"num_key_value_heads": 4}  # latent attention, with keys for every head
OVERRIDES: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {**LATENT, "n_group": 2, "topk_group": 1},
    "bamba": {"mamba_d_head": 16},
    "cohere_compass_text": {"layer_types": ALTERNATING, "rope_parameters": dict.fromkeys(KINDS, PLAIN_ROPE)},
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "clip_qkv": 8.0, "kv_n_heads": 2}},
    "deepseek_v2": {**LATENT, "num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots3_note_text": {**LATENT, "layer_types": ["full_attention"] * BLOCKS},
    "gemma3n_text": {**SHARED_KEYS, "intermediate_size": [64] * BLOCKS},
    "gemma4_text": SHARED_KEYS,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {"mamba_d_head": 16},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "inkling2_loop_text": {"unpadded_vocab_size": VOCABULARY},
    "inkling2_text": {"unpadded_vocab_size": VOCABULARY},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {**LATENT, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8, "n_groups": 2},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen2_5_vl_text": {"rope_parameters": {**PLAIN_ROPE, "mrope_section": [2, 1, 1]}},
    "qwen4_exp_text": {
        **dict.fromkeys(("indexer_head_dim", "indexer_budget", "ple_embed_dim"), 16),
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_compress_ratio": 4,
        "ngram_vocab_size_base": 512,
        "split_ngram_parts": 8,
    },
    "reformer": {"is_decoder": True, "axial_pos_embds_dim": (16, 16), "axial_pos_shape": (8, 8)},
    "roc_bert": {"shape_vocab_size": 64, "pronunciation_vocab_size": 64},
    "xlm": {"emb_dim": 32, "n_layers": BLOCKS, "n_heads": 4},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2},
}
OVERRIDES |= dict.fromkeys(("axk1", "axk2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa"), LATENT)
OVERRIDES |= dict.fromkeys(("hy_v4", "kimi_linear", "minicpm3", "sarvam_mla", "youtu"), LATENT)


def tiny_config(kind: str) -> PreTrainedConfig:
    """A small configuration of one model type of transformers' causal-LM mapping."""
    return shrunk(CONFIG_MAPPING[kind], OVERRIDES.get(kind, {}))


def shrunk(cls: type[PreTrainedConfig], overrides: dict[str, Any]) -> PreTrainedConfig:
    """A configuration with SIZES in place of its default numbers, and what is not a number derived from them."""
    sizes: dict[str, Any] = {}
    for name, value in vars(cls()).items():
        if isinstance(value, PreTrainedConfig):
            sizes[name] = shrunk(type(value), OVERRIDES.get(value.model_type, {}))
        elif type(value) is int and name in SIZES:
            sizes[name] = min(value, SIZES[name])
        elif name.endswith("token_id") and type(value) is int and value >= VOCABULARY:
            sizes[name] = 2
    return cls(**{**sizes, **overrides})


def build(kind: str) -> PreTrainedModel:
    """A random model of that type in evaluation mode."""
    torch.manual_seed(0)
    return cast(PreTrainedModel, AutoModelForCausalLM.from_config(tiny_config(kind)).eval())
