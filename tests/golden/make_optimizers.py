"""Ten steps of every optimizer on given gradients, by torch where it has the optimizer, and the rates of every schedule:
`make_optimizers.py OUT`."""

import contextlib
import math
import sys

import numpy as np
import torch

import golden

STEPS = 10
SHAPES = {"layers.0.tall": (12, 5), "layers.0.wide": (5, 12), "layers.0.bias": (7,), "embed.weight": (9, 4)}
PEAK, RATIO, WARMUP, TOTAL, DECAY = 0.01, 0.1, 4, 15, 0.4


def tensors():
    """Start values and one gradient a step for each parameter. One entry never has a gradient."""
    rng = np.random.Generator(np.random.PCG64(7))
    start = {name: rng.uniform(-0.5, 0.5, shape).astype(np.float32) for name, shape in SHAPES.items()}
    slopes = {name: rng.normal(0, 0.3, (STEPS, *shape)).astype(np.float32) for name, shape in SHAPES.items()}
    for slope in slopes.values():
        slope.reshape(STEPS, -1)[:, 0] = 0
    return start, slopes


def groups(parameters, decay):
    """No decay on vectors."""
    return [
        {"params": [p for p in parameters.values() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters.values() if p.ndim == 1], "weight_decay": 0.0},
    ]


class Lion:
    """Chen 2023, algorithm 2: torch has none."""

    def __init__(self, parameters, lr, betas, decay):
        self.parameters, self.lr, self.betas, self.decay = parameters, lr, betas, decay
        self.momentum = {name: np.zeros(p.shape, np.float64) for name, p in parameters.items()}

    def step(self):
        (b1, b2), lr = self.betas, self.lr
        for name, p in self.parameters.items():
            value, g, m = p.detach().numpy().astype(np.float64), p.grad.numpy().astype(np.float64), self.momentum[name]
            decay = self.decay if p.ndim > 1 else 0.0
            value = value - lr * (np.sign(b1 * m + (1 - b1) * g) + decay * value)
            self.momentum[name] = b2 * m + (1 - b2) * g
            with torch.no_grad():
                p.copy_(torch.from_numpy(value.astype(np.float32)))


class Muon:
    """torch's, for the matrices of blocks, and AdamW for the rest."""

    def __init__(self, parameters, lr, momentum, decay):
        blocks = {n: p for n, p in parameters.items() if p.ndim == 2 and n.startswith("layers.")}
        rest = {n: p for n, p in parameters.items() if n not in blocks}
        self.parts = [
            torch.optim.Muon(
                list(blocks.values()), lr=lr, momentum=momentum, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(groups(rest, decay), lr=lr),
        ]

    def step(self):
        for part in self.parts:
            part.step()


def optimizers():
    yield "adamw", lambda ps: torch.optim.AdamW(groups(ps, 0.1), lr=0.01, betas=(0.9, 0.99))
    yield "muon", lambda ps: Muon(ps, 0.01, 0.95, 0.1)
    yield "lion", lambda ps: Lion(ps, 0.01, (0.9, 0.99), 0.1)
    yield "adafactor", lambda ps: torch.optim.Adafactor(groups(ps, 0.1), lr=0.05)
    yield "sgd", lambda ps: torch.optim.SGD(groups(ps, 0.1), lr=0.05, momentum=0.9, nesterov=True)
    yield "sgd-plain", lambda ps: torch.optim.SGD(groups(ps, 0.1), lr=0.05)


def run(make, start, slopes):
    parameters = {name: torch.nn.Parameter(torch.from_numpy(value.copy())) for name, value in start.items()}
    optimizer = make(parameters)
    for step in range(STEPS):
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(slopes[name][step].copy())
        # As a run clips: all gradients together.
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.5)
        optimizer.step()
    return {name: parameter.detach().numpy() for name, parameter in parameters.items()}


def schedules(peak=PEAK, ratio=RATIO, warmup=WARMUP, total=TOTAL, decay=DECAY):
    """torch's own schedulers behind a linear warm-up whose last step has the peak; the papers' formulas where it has none."""
    sgd = lambda: torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)

    def chained(make, count):
        optimizer = sgd()
        scheduler, rates = make(optimizer), []
        for _ in range(count):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    lr = torch.optim.lr_scheduler
    warm = chained(lambda o: lr.LinearLR(o, 1 / warmup, 1, warmup - 1), warmup)
    rest = total - warmup
    fall = round(total * decay)
    return {
        "constant": warm + chained(lambda o: lr.ConstantLR(o, 1.0), rest),
        "linear": warm + chained(lambda o: lr.LinearLR(o, 1, ratio, rest - 1), rest),
        "cosine": warm + chained(lambda o: lr.CosineAnnealingLR(o, rest - 1, peak * ratio), rest),
        "wsd": warm + [peak] * (rest - fall) + chained(lambda o: lr.LinearLR(o, 1, ratio, fall - 1), fall),
        # Vaswani 2017, section 5.3, scaled to its peak.
        "inverse_sqrt": warm + [peak * math.sqrt(warmup / step) for step in range(warmup + 1, total + 1)],
    }


@contextlib.contextmanager
def muon_in_f32():
    """torch's Muon iterates in bf16; in f32 it is the same formula, and comparable."""
    half, torch.bfloat16 = torch.bfloat16, torch.float32
    yield
    torch.bfloat16 = half


def main(out):
    start, slopes = tensors()
    tensors_of = {f"start/{n}": v for n, v in start.items()} | {f"gradient/{n}": v for n, v in slopes.items()}
    with muon_in_f32():
        for name, make in optimizers():
            tensors_of |= {f"{name}/{n}": v for n, v in run(make, start, slopes).items()}
    golden.write_tensors(out, "optimizers/steps.safetensors", tensors_of)
    rates = {name: [float(f"{rate:.9g}") for rate in rates] for name, rates in schedules().items()}
    golden.write_json(out, "optimizers/schedules.json", rates)


if __name__ == "__main__":
    main(sys.argv[1])
