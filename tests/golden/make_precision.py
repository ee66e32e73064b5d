"""torch's own casts, and one product under its autocast: `make_precision.py OUT`."""

import sys

import numpy as np
import torch

import golden

FORMATS = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
}


def values():
    """Numbers of every size a format holds, ties and halves of the smallest ones among them."""
    rng = np.random.Generator(np.random.PCG64(91))
    spread = rng.normal(0, 1, 1500) * np.exp2(rng.integers(-30, 20, 1500))
    ties = (rng.integers(0, 4096, 500) + 0.5) * np.exp2(rng.integers(-28, 6, 500))
    near = [448, 464, 463.9, 464.1, 480, 57344, 61439, 61440, 65504, 65519, 65520, 3.3895e38, 3.4e38, 1e-40, 0.0]
    both = np.concatenate([spread, ties, near]).astype(np.float32)
    return np.concatenate([both, -both])


def product(dtype):
    """`x Wᵀ + b` and all gradients of it."""
    rng = np.random.Generator(np.random.PCG64(92))
    shapes = {"x": (5, 24), "w": (16, 24), "b": (16,), "dy": (5, 16)}
    of = {name: torch.from_numpy(rng.normal(0, 1, shape).astype(np.float32)) for name, shape in shapes.items()}
    leaves = [of[name].requires_grad_() for name in "xwb"]
    with torch.autocast("cpu", dtype=dtype):
        y = torch.nn.functional.linear(*leaves)
    assert y.dtype == dtype
    y.backward(of["dy"].to(dtype))
    results = {"y": y.float()} | {f"d{name}": leaf.grad for name, leaf in zip("xwb", leaves)}
    return {name: tensor.detach().numpy() for name, tensor in (of | results).items()}


def main(out):
    x = values()
    tensors = {"values": x}
    for name, dtype in FORMATS.items():
        cast = torch.from_numpy(x).to(dtype).float().numpy()
        # No number stands for what is none: a safetensors file compares as it is.
        tensors[f"cast/{name}"] = np.nan_to_num(cast, nan=-1e9, posinf=1e9, neginf=-2e9)
    for name in ["bf16", "f16"]:
        tensors |= {f"{name}/{key}": value for key, value in product(FORMATS[name]).items()}
    golden.write_tensors(out, "precision/casts.safetensors", tensors)


if __name__ == "__main__":
    main(sys.argv[1])
