"""Tiny GGUF files."""

import json
from pathlib import Path


def write_gguf(path: Path, dense, tensors_a_file: int = 0, bos: int | None = None) -> None:
    """A Llama and its tokenizer as llama.cpp stores them: own names, and q and k in its rotary order.

    With `tensors_a_file` it is split into path-00001-of-00003.gguf and so on; `bos` is put before every text.
    """
    import gguf

    config, vocabulary = dense.model.config, dense.tokenizer.get_vocab()
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_a_file)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.get))
    writer.add_token_types([1] * len(vocabulary))
    merges = json.loads(dense.tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    if bos is not None:
        writer.add_bos_token_id(bos)
        writer.add_add_bos_token(True)
    names = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, weight in dense.model.model.state_dict().items():
        array = weight.float().numpy()
        if name in ("embed_tokens.weight", "norm.weight"):
            name = {"e": "token_embd.weight", "n": "output_norm.weight"}[name[0]]
        else:
            _, block, name = name.split(".", 2)
            if name.split(".")[1] in ("q_proj", "k_proj"):
                heads = array.reshape(config.num_attention_heads, 2, config.head_dim // 2, -1)
                array = heads.swapaxes(1, 2).reshape(array.shape)
            name = f"blk.{block}.{names[name.removesuffix('.weight')]}.weight"
        writer.add_tensor(name, array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
