"""Writes quantized.gguf: rows of numbers beside the blocks that PyPI `gguf`, which follows ggml's reference, packs them into.

Run by `cargo xtask parity`, or: python make_quantized.py [output folder]. Needs numpy and gguf. The output depends on nothing
but this file: same seed, same bytes.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFWriter
from gguf.quants import quantize

TYPES = [Q.F16, Q.Q8_0, Q.Q4_0]
ROWS, COLUMNS = 16, 256


def rows():
    rng = np.random.default_rng(20261125)
    values = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    # Rows as weights have them, and rows that ask for care: tiny, large, all zero, one number alone, halves of a step,
    # the largest number negative, and two largest ones of either sign, of which the first decides.
    values[1] *= np.float32(0.02)
    values[2] *= np.float32(1e-6)
    values[3] *= np.float32(1e4)
    values[4] = 0
    values[5] = 0
    values[5, ::32] = np.float32(-0.7)
    values[6] = (np.arange(COLUMNS) % 255 - 127) / np.float32(2)
    values[7] = (np.arange(COLUMNS) % 16 - 8) / np.float32(2)
    values[8, ::32] = -9
    values[9, 3::32], values[9, 5::32] = 5, -5
    values[10, 3::32], values[10, 5::32] = -5, 5
    values[11] = np.abs(values[11])
    return values


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    values = rows()
    writer = GGUFWriter(folder / "quantized.gguf", "quantized")
    writer.add_tensor("values", values)
    for kind in TYPES:
        stored = quantize(values, kind)
        writer.add_tensor(kind.name, np.ascontiguousarray(stored).view(np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
