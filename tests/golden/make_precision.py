"""torch's own casts, one product under its autocast, and products between explicit casts: `make_precision.py OUT`."""

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


def cast(name, scaled=False):
    """The nearest number of a format, by torch. Scaled: multiplied first by the largest power of two that keeps the tensor's largest
    number within the format, and divided by it behind."""
    dtype = FORMATS[name]

    def apply(x):
        most = x.abs().max().item()
        scale = 2.0 ** np.floor(np.log2(torch.finfo(dtype).max / most)) if scaled and most > 0 else 1.0
        return (x * scale).to(dtype).float() / scale

    return apply


class Rounded(torch.autograd.Function):
    """One cast forward, another one for the gradient."""

    @staticmethod
    def forward(ctx, x, forward, backward):
        ctx.backward = backward
        return forward(x)

    @staticmethod
    def backward(ctx, gradient):
        return ctx.backward(gradient), None, None


def casts(name):
    """What goes into a product, and what comes out of it: of each the cast of the number and that of its gradient. With fp8, inputs
    are E4M3 and the gradient of a result E5M2, both scaled; results and the gradients of inputs leave the unit as bf16."""
    if name == "fp8":
        bf16 = cast("bf16")
        return (cast("e4m3", True), bf16), (bf16, cast("e5m2", True))
    return (cast(name), cast(name)), (cast(name), cast(name))


def numbers(seed, shapes):
    rng = np.random.Generator(np.random.PCG64(seed))
    return {name: torch.from_numpy(rng.normal(0, 1, shape).astype(np.float32)) for name, shape in shapes.items()}


def linear_between_casts(name):
    """`x Wᵀ + b` and all gradients of it."""
    of = numbers(93, {"x": (5, 24), "w": (16, 24), "b": (16,), "dy": (5, 16)})
    leaves = [of[key].requires_grad_() for key in "xwb"]
    inputs, output = casts(name)
    y = Rounded.apply(torch.nn.functional.linear(*(Rounded.apply(leaf, *inputs) for leaf in leaves)), *output)
    y.backward(of["dy"])
    return of | {"y": y} | {f"d{key}": leaf.grad for key, leaf in zip("xwb", leaves)}


def attention_between_casts(name):
    """Causal attention of four query heads over two key heads, and its gradients. Both products stand between casts; scale, mask and
    softmax are f32. Queries of a group meet their keys in one product, so that a key's gradient is rounded once."""
    batch, heads, keys, time, size = 2, 4, 2, 7, 8
    shapes = {"q": (batch, heads, time, size), "k": (batch, keys, time, size), "v": (batch, keys, time, size)}
    of = numbers(94, shapes | {"dy": shapes["q"]})
    q, k, v = leaves = [of[key].requires_grad_() for key in "qkv"]
    inputs, output = casts(name)

    def product(a, b):
        return Rounded.apply(Rounded.apply(a, *inputs) @ Rounded.apply(b, *inputs), *output)

    grouped = (batch, keys, heads // keys * time)
    scores = product(q.reshape(*grouped, size), k.transpose(2, 3)) / size**0.5
    hidden = torch.ones(time, time).triu(1).bool()
    weights = scores.reshape(batch, heads, time, time).masked_fill(hidden, -torch.inf).softmax(-1)
    y = product(weights.reshape(*grouped, time), v).reshape(shapes["q"])
    y.backward(of["dy"])
    return of | {"y": y} | {f"d{key}": leaf.grad for key, leaf in zip("qkv", leaves)}


def main(out):
    x = values()
    tensors = {"values": x}
    for name, dtype in FORMATS.items():
        rounded = torch.from_numpy(x).to(dtype).float().numpy()
        # No number stands for what is none: a safetensors file compares as it is.
        tensors[f"cast/{name}"] = np.nan_to_num(rounded, nan=-1e9, posinf=1e9, neginf=-2e9)
    for name in ["bf16", "f16"]:
        tensors |= {f"{name}/{key}": value for key, value in product(FORMATS[name]).items()}
    golden.write_tensors(out, "precision/casts.safetensors", tensors)

    tensors = {f"fp8/{key}": value for key, value in linear_between_casts("fp8").items()}
    for name in ["bf16", "f16", "fp8"]:
        tensors |= {f"attention/{name}/{key}": value for key, value in attention_between_casts(name).items()}
    tensors = {key: value.detach().numpy() for key, value in tensors.items()}
    golden.write_tensors(out, "precision/products.safetensors", tensors)


if __name__ == "__main__":
    main(sys.argv[1])
