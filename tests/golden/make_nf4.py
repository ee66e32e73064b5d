"""4-bit NormalFloat with double quantization as bitsandbytes does it, on random numbers: `make_nf4.py OUT`."""

import sys

import bitsandbytes.functional as bnb
import torch

import golden

# Whole blocks and groups of blocks; a last group, and a last block, that are not full.
SHAPES = {"whole": (64, 256), "partial": (301, 67)}


def main(out):
    torch.manual_seed(41)
    tensors = {}
    for name, shape in SHAPES.items():
        # Rows of different size, some of zeros: magnitudes have something to quantise.
        values = torch.randn(shape) * torch.rand(shape[0], 1) * 3
        values[1] = 0
        packed, state = bnb.quantize_4bit(values, blocksize=64, compress_statistics=True, quant_type="nf4")
        tensors[f"{name}/values"] = values.numpy()
        tensors[f"{name}/again"] = bnb.dequantize_4bit(packed, state).numpy()
    tensors["levels"] = bnb.get_4bit_type("nf4", device="cpu").numpy()
    golden.write_tensors(out, "nf4.safetensors", tensors)


if __name__ == "__main__":
    main(sys.argv[1])
