"""What the golden scripts share. Weights come from numpy's PCG64, which gives the same bits on every machine; what torch
computes from them may differ in the last bits with the processor, so an unchanged file keeps its committed bytes."""

import json
import pathlib

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
TOLERANCE = 1e-6

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def randomize(model, seed, scales):
    """Fills every parameter. `scales` maps the end of a name to (low, high); the first that fits counts. Without an
    entry a matrix is uniform with a deviation that keeps its output about as large as its input."""
    rng = np.random.Generator(np.random.PCG64(seed))
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            for end, (low, high) in scales.items():
                if name.endswith(end):
                    break
            else:
                bound = (3.0 / parameter.shape[-1]) ** 0.5
                low, high = -bound, bound
            values = rng.uniform(low, high, tuple(parameter.shape)).astype(np.float32)
            parameter.copy_(torch.from_numpy(values))


def prompts(seed, vocab, lengths):
    """One list of token ids for each length."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return [[int(t) for t in rng.integers(0, vocab, length)] for length in lengths]


def left_padded(rows):
    """Ids `[B, T]`, mask and positions, padding in front."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return ids, mask, positions


def together(model, rows):
    """The logits of every real position of one left-padded batch."""
    ids, mask, positions = left_padded(rows)
    # Bloom counts positions from the mask by itself.
    places = {} if model.config.model_type == "bloom" else dict(position_ids=positions)
    batch = model(ids, attention_mask=mask, **places).logits
    return torch.cat([batch[i, -len(row):] for i, row in enumerate(rows)])


def logits(model, rows, only_alone=False):
    """The logits of every real position, row after row: `[sum of lengths, V]`. Each row alone, and then all of them
    left-padded in one batch; both must agree, or the reference itself is in doubt. (Not where a row's rotation depends on
    the longest one beside it, nor behind virtual tokens, for which PEFT counts padding as text.)"""
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([row])).logits[0, -len(row):] for row in rows])
        difference = 0.0 if only_alone else (alone - together(model, rows)).abs().max().item()
    assert difference < 2e-5, f"batch and single rows differ by {difference}"
    deviation = alone.std().item()
    assert deviation >= 1, f"logits of {model.config.model_type} deviate by {deviation} only: the fixture could not fail"
    return alone.numpy()


def write_tensors(out, relative, tensors):
    """Writes a safetensors file, or the committed bytes again where nothing changed by more than TOLERANCE."""
    path = pathlib.Path(out) / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    committed = HERE / relative
    if committed.exists() and same(load_file(committed), tensors):
        path.write_bytes(committed.read_bytes())
    else:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata={"format": "pt"})


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].shape == b[k].shape and np.allclose(a[k], b[k], rtol=0, atol=TOLERANCE) for k in a
    )


def write_json(out, relative, value):
    path = pathlib.Path(out) / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def expected(rows, values):
    """Prompts and logits of one file: `lengths [B]`, `tokens [sum]`, `logits [sum, V]`."""
    return {
        "lengths": np.array([len(row) for row in rows], dtype=np.float32),
        "tokens": np.array([t for row in rows for t in row], dtype=np.float32),
        "logits": values,
    }
