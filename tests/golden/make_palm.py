"""A tiny random model of PaLM's shape with the logits that the paper's formulas give for it (Chowdhery 2022, section 2), and the
gradients of one loss: `make_palm.py OUT`.

No library has PaLM. What is written here is the paper: `y = x + MLP(LN(x)) + Attention(LN(x))` behind one norm, SwiGLU, one head of
keys and values for all queries, rotary positions in neighbouring pairs (Su 2021, equation 34), no biases anywhere. The embedding is the
head, with logits divided by the root of the width (section 5); the model's file holds the embedding divided by that root instead."""

import sys

import numpy as np
import torch

import golden

VOCAB, WIDTH, LAYERS, HEADS, POSITIONS = 128, 16, 3, 4, 64
SIZE, INNER, EPSILON = WIDTH // HEADS, 4 * WIDTH, 1e-5
LENGTHS = [52, 31, 7]
CONFIG = {
    "model_type": "hearth",
    "vocab_size": VOCAB,
    "d_model": WIDTH,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "kv_heads": 1,
    "head_dim": SIZE,
    "ffn_dim": INNER,
    "max_positions": POSITIONS,
    "norm": "layer_no_bias",
    "norm_eps": EPSILON,
    "embedding_scale": float(WIDTH) ** 0.5,
    "block": "parallel_shared",
    "position": {"rope": {"theta": 10000.0, "style": "interleaved", "dims": None, "scaling": {"kind": "none"}}},
    "activation": "silu",
    "mlp_gated": True,
    "attention_bias": False,
    "output_bias": False,
    "mlp_bias": False,
    "sliding_window": None,
    "tied": True,
    "bos": None,
    "eos": [],
}
BLOCK = {
    "attention.q_proj": (WIDTH, WIDTH),
    "attention.k_proj": (SIZE, WIDTH),
    "attention.v_proj": (SIZE, WIDTH),
    "attention.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (INNER, WIDTH),
    "mlp.up_proj": (INNER, WIDTH),
    "mlp.down_proj": (WIDTH, INNER),
}


def weights():
    """Under the names of the model's file. Norms stand away from 1, and logits spread."""
    rng = np.random.Generator(np.random.PCG64(95))

    def uniform(low, high, *shape):
        return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32)).requires_grad_()

    of = {"embed.weight": uniform(-0.8, 0.8, VOCAB, WIDTH), "norm.weight": uniform(0.5, 1.5, WIDTH)}
    for layer in range(LAYERS):
        of[f"layers.{layer}.attention_norm.weight"] = uniform(0.5, 1.5, WIDTH)
        for name, shape in BLOCK.items():
            bound = (6.0 / shape[1]) ** 0.5
            of[f"layers.{layer}.{name}.weight"] = uniform(-bound, bound, *shape)
    return of


def norm(x, weight):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + EPSILON).sqrt() * weight


def rotated(x):
    """`[.., T, E]`: dimensions 2i and 2i + 1 turn together by `t · 10000^(-2i/E)`."""
    angle = torch.arange(x.shape[-2])[:, None] * 10_000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
    cos, sin = angle.cos(), angle.sin()
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)


def attention(x, q, k, v, o):
    time = x.shape[0]
    queries = rotated((x @ q.T).reshape(time, HEADS, SIZE).transpose(0, 1))
    keys, values = rotated(x @ k.T), x @ v.T
    scores = queries @ keys.T / SIZE**0.5
    scores = scores.masked_fill(torch.ones(time, time).triu(1).bool(), -torch.inf)
    return (scores.softmax(-1) @ values).transpose(0, 1).reshape(time, WIDTH) @ o.T


def mlp(x, gate, up, down):
    gated = x @ gate.T
    return (gated * gated.sigmoid() * (x @ up.T)) @ down.T


def logits(of, row):
    embedding = of["embed.weight"] * WIDTH**0.5
    x = embedding[torch.tensor(row)]
    for layer in range(LAYERS):
        *attending, gate, up, down = (of[f"layers.{layer}.{name}.weight"] for name in BLOCK)
        normed = norm(x, of[f"layers.{layer}.attention_norm.weight"])
        x = x + mlp(normed, gate, up, down) + attention(normed, *attending)
    return norm(x, of["norm.weight"]) @ embedding.T / WIDTH**0.5


def main(out):
    of = weights()
    rows = golden.prompts(195, VOCAB, LENGTHS)
    with torch.no_grad():
        values = torch.cat([logits(of, row) for row in rows])
    assert values.std() >= 1, f"logits deviate by {values.std()} only: the fixture could not fail"
    loss = torch.nn.functional.cross_entropy(logits(of, rows[0][:-1]), torch.tensor(rows[0][1:]))
    loss.backward()
    golden.write_json(out, "palm/config.json", CONFIG)
    golden.write_tensors(out, "palm/model.safetensors", {name: value.detach().numpy() for name, value in of.items()})
    golden.write_tensors(out, "palm/expected.safetensors", golden.expected(rows, values.numpy()))
    golden.write_json(out, "palm/loss.json", {"loss": round(loss.item(), 5)})
    golden.write_tensors(out, "palm/gradients.safetensors", {name: value.grad.numpy() for name, value in of.items()})


if __name__ == "__main__":
    main(sys.argv[1])
