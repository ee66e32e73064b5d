"""Writes gguf_blocks.gguf: random bytes in every supported block type beside what PyPI `gguf` decodes them to.

Run by `cargo xtask parity`, or: python make_gguf.py [output folder]. Needs numpy and gguf. The output depends on nothing but
this file: same seed, same bytes.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

TYPES = [Q.F32, Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q4_K, Q.Q5_K, Q.Q6_K]
# Where a block of each type holds its f16 scales; random bytes there could be NaN or infinite.
SCALES = {
    Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208],
}
ROWS, COLUMNS = 6, 512


def random_rows(rng, kind):
    if kind == Q.F32:
        return rng.standard_normal((ROWS, COLUMNS)).astype(np.float32).view(np.uint8)
    if kind == Q.F16:
        return rng.standard_normal((ROWS, COLUMNS)).astype(np.float16).view(np.uint8)
    if kind == Q.BF16:
        wide = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32).view(np.uint32)
        return (wide >> 16).astype(np.uint16).view(np.uint8)
    block, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (ROWS * COLUMNS // block, size), dtype=np.uint8)
    for at in SCALES[kind]:
        # Normal, subnormal, zero and negative scales: everything that is finite.
        scales = rng.standard_normal(len(blocks)).astype(np.float16)
        scales[::7] *= np.float16(1e-6)
        scales[::13] = 0
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    rng = np.random.default_rng(20261123)
    writer = GGUFWriter(folder / "gguf_blocks.gguf", "blocks")
    # One metadata value of every type, as the reference writer lays them out.
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_uint32("test.u32", 4_000_000_000)
    writer.add_int32("test.i32", -2_000_000_000)
    writer.add_uint64("test.u64", 1 << 60)
    writer.add_int64("test.i64", -(1 << 60))
    writer.add_float32("test.f32", 0.5)
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "火 hearth")
    writer.add_array("test.strings", ["a", "", "灶"])
    writer.add_array("test.numbers", [1, -2, 3])
    for kind in TYPES:
        rows = random_rows(rng, kind)
        expected = dequantize(rows, kind) if kind not in (Q.F32, Q.F16) else None
        if kind == Q.F32:
            expected = rows.view(np.float32)
        if kind == Q.F16:
            expected = rows.view(np.float16).astype(np.float32)
        assert expected.shape == (ROWS, COLUMNS) and np.isfinite(expected).all()
        writer.add_tensor(f"{kind.name}.stored", rows, raw_dtype=kind)
        writer.add_tensor(f"{kind.name}.expected", np.ascontiguousarray(expected, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
