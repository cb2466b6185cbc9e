"""The C structs of one token's way through a model, field by field as in step.h."""

import ctypes

from eggs_core.packed.kernel.library import CLayer

ACTIVATIONS = {"silu": 0, "gelu_pytorch_tanh": 1, "gelu": 2}  # eggs_activation, by transformers' names
NORMS = ("input_norm", "attention_norm", "mlp_norm", "output_norm", "q_norm", "k_norm")


class CBlock(ctypes.Structure):
    """eggs_block of step.h."""

    _fields_ = (
        ("attention", CLayer * 3),
        ("output", CLayer),
        ("gate", CLayer * 2),
        ("down", CLayer),
        *((name, ctypes.c_void_p) for name in (*NORMS, "frequencies", "keys", "values")),
        ("window", ctypes.c_int64),
        ("rope_scale", ctypes.c_float),
        ("pad", ctypes.c_float),
    )


class CModel(ctypes.Structure):
    """eggs_model of step.h."""

    _fields_ = (
        ("blocks", ctypes.POINTER(CBlock)),
        ("head", CLayer),
        ("embedding", CLayer),
        *((name, ctypes.c_void_p) for name in ("norm", "logits", "room")),
        *((name, ctypes.c_int64) for name in ("count", "hidden", "heads", "kv_heads", "dim", "inner", "capacity")),
        *((name, ctypes.c_float) for name in ("epsilon", "scale", "soft_cap", "final_cap", "embedding_scale")),
        *((name, ctypes.c_int32) for name in ("activation",)),
    )
