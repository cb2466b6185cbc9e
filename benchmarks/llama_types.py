"""What llama.cpp's types make of a weight: plain ones by its package gguf, K-types by its own C code in xllamacpp."""

import ctypes
from pathlib import Path

import gguf
import numpy as np

PLAIN = ("Q8_0", "Q5_1", "Q4_0")
K_TYPES = ("Q6_K", "Q4_K", "Q3_K", "Q2_K")
# What llama.cpp takes for rows that are no whole blocks of 256.
INSTEAD = {"Q6_K": "Q8_0", "Q4_K": "Q5_0", "Q3_K": "IQ4_NL", "Q2_K": "IQ4_NL"}
BLOCK = 256


def library() -> ctypes.CDLL | None:
    """The compiled llama.cpp that xllamacpp brings, None where it is not installed."""
    try:
        import xllamacpp
    except ImportError:
        return None
    found = next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"), None)
    if found is None:
        return None
    lib = ctypes.CDLL(str(found))
    pointer, i64 = ctypes.c_void_p, ctypes.c_int64
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, pointer, pointer, i64, i64, i64, pointer]
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    return lib


def type_for(kind: str, columns: int) -> str:
    """The type that llama.cpp gives a matrix of so many columns when a file is to be of a kind."""
    return INSTEAD[kind] if kind in INSTEAD and columns % BLOCK else kind


def bits_of(kind: str) -> float:
    """Bits that a weight takes, scales included."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    return 8 * size / block


def made(weight: np.ndarray, kind: str) -> np.ndarray:
    """A weight, fp32 (rows, columns), as a type keeps it, in numbers again; a plain type needs no xllamacpp."""
    number = gguf.GGMLQuantizationType[kind]
    if kind in PLAIN or kind == "Q5_0":
        return gguf.quants.dequantize(gguf.quants.quantize(weight, number), number)
    lib = library()
    assert lib is not None
    source, (rows, columns) = np.ascontiguousarray(weight, dtype=np.float32), weight.shape
    block, size = gguf.GGML_QUANT_SIZES[number]
    stored = np.empty((rows, columns // block * size), dtype=np.uint8)
    written = lib.ggml_quantize_chunk(int(number), source.ctypes.data, stored.ctypes.data, 0, rows, columns, None)
    assert written == stored.nbytes, (kind, written, stored.nbytes)
    return gguf.quants.dequantize(stored, number).reshape(rows, columns)
