"""Ten steps of whole runs, by torch, transformers and PEFT: `make_runs.py OUT`. Each example goes alone through the model, so that no
padding or packing is in the reference. Whole models are trained on the mistral fixture: llama's keys have a bias, whose gradient is
nothing but rounding, as softmax does not see what all scores of a query share. Adapters are those of the llama fixture."""

import sys

import numpy as np
import torch
from peft import PeftModel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import AutoModelForCausalLM

import golden
import make_optimizers

STEPS, BATCH, WARMUP, RATIO, DECAY = 10, 4, 3, 0.1, 0.4
VOCAB = 128
# Name, optimizer, schedule, peak rate, largest gradient norm, and what is special.
CASES = [
    ("adamw", "adamw", "cosine", 0.01, 0.5, {}),
    ("muon", "muon", "wsd", 0.01, 0.5, {}),
    ("lion", "lion", "linear", 0.001, 0.5, {}),
    ("adafactor", "adafactor", "inverse_sqrt", 0.05, 0.5, {}),
    ("sgd", "sgd", "constant", 0.05, 0.5, {}),
    ("unclipped", "adamw", "constant", 0.003, None, {}),
    ("smoothed", "adamw", "cosine", 0.01, 0.5, {"label_smoothing": 0.1}),
    ("z-loss", "adamw", "cosine", 0.01, 0.5, {"z_loss": 0.02}),
    ("average", "adamw", "cosine", 0.01, 0.5, {"ema": 0.8}),
    ("distilled", "adamw", "cosine", 0.01, 0.5, {"teacher": "gpt2", "temperature": 2.0, "share": 0.6}),
    ("lora", "adamw", "cosine", 0.01, 0.5, {"adapter": True}),
    ("dpo", "adamw", "cosine", 0.001, None, {"beta": 0.3}),
    ("dpo-lora", "adamw", "cosine", 0.003, None, {"beta": 0.3, "adapter": True}),
]


def examples():
    """Token ids, and the first position whose token is trained, of three steps' examples."""
    lengths = [9, 17, 6, 13, 21, 8, 12, 16, 7, 24, 10, 14]
    return [(row, 1 + i % 5) for i, row in enumerate(golden.prompts(41, VOCAB, lengths))]


def path(name):
    """Our path of a parameter."""
    for theirs, ours in [
        ("base_model.model.", ""),
        ("model.", ""),
        ("embed_tokens", "embed"),
        ("self_attn", "attention"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "mlp_norm"),
        ("lm_head", "head"),
        ("lora_A.default.weight", "lora.a"),
        ("lora_B.default.weight", "lora.b"),
    ]:
        name = name.replace(theirs, ours)
    return name


def logits_of(model, rows):
    """`[N, V]`, before each trained token of all rows."""
    return torch.cat([model(torch.tensor([ids[:-1]])).logits[0, first - 1 :] for ids, first in rows])


def taught(loss, logits, teacher_logits, temperature, share):
    """Hinton 2015: `(1 - s) · CE + s · τ² · KL(teacher ‖ student)`, both softmaxes at the temperature τ."""
    student, teacher = (torch.log_softmax(x / temperature, -1) for x in (logits, teacher_logits))
    divergence = torch.nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return (1 - share) * loss + share * temperature**2 * divergence


def loss_of(model, rows, label_smoothing=0.0, z_loss=0.0, lesson=None):
    """The mean over all trained tokens of a step, and the mean that a run reports. A lesson is a teacher, a temperature and a share."""
    logits = logits_of(model, rows)
    targets = torch.tensor([t for ids, first in rows for t in ids[first:]])
    loss = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    plain = torch.nn.functional.cross_entropy(logits, targets)
    if lesson:
        teacher, *how = lesson
        with torch.no_grad():
            teacher_logits = logits_of(teacher, rows)
        loss = taught(loss, logits, teacher_logits, *how)
    return loss + z_loss * torch.logsumexp(logits, -1).square().mean(), plain.item()


def log_probability(model, ids, first):
    """Of the trained tokens."""
    logits = model(torch.tensor([ids[:-1]])).logits[0, first - 1 :]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[first:])[:, None]).sum()


def preference_loss(model, rows, references, beta):
    """Rafailov 2023, equation 7, on pairs whose better one stands first."""
    gains = torch.stack([log_probability(model, *row) for row in rows]) - references
    loss = -torch.nn.functional.logsigmoid(beta * (gains[0::2] - gains[1::2])).mean()
    return loss, loss.item()


def set_rate(optimizer, rate):
    for part in getattr(optimizer, "parts", [optimizer]):
        part.lr = rate
        for group in getattr(part, "param_groups", []):
            group["lr"] = rate


def fixture(name):
    return AutoModelForCausalLM.from_pretrained(golden.HERE / name, attn_implementation="eager", dtype=torch.float32)


def run(optimizer, schedule, peak, clip, special):
    special = dict(special)
    adapter = special.pop("adapter", False)
    model = fixture("llama" if adapter else "mistral")
    if adapter:
        model = PeftModel.from_pretrained(model, golden.HERE / "peft-llama", is_trainable=True)
    ema, beta = special.pop("ema", None), special.pop("beta", None)
    if teacher := special.pop("teacher", None):
        special["lesson"] = (fixture(teacher).eval(), special.pop("temperature"), special.pop("share"))
    parameters = {path(name): p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = dict(make_optimizers.optimizers())[optimizer](parameters)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema else None
    rates = make_optimizers.schedules(peak, RATIO, WARMUP, STEPS, DECAY)[schedule]
    losses, data = [], examples()
    model.eval()
    with torch.no_grad():
        references = torch.stack([log_probability(model, *row) for row in data])
    for step in range(STEPS):
        set_rate(optimizer, rates[step])
        at = step * BATCH % len(data)
        for p in parameters.values():
            p.grad = None
        if beta:
            loss, plain = preference_loss(model, data[at : at + BATCH], references[at : at + BATCH], beta)
        else:
            loss, plain = loss_of(model, data[at : at + BATCH], **special)
        loss.backward()
        if clip:
            norm = torch.nn.utils.clip_grad_norm_(list(parameters.values()), clip)
            assert norm > clip, "the fixture clips"
        optimizer.step()
        losses.append(plain)
        if average:
            average.update_parameters(model)
    if average:
        parameters = {path(name): p for name, p in average.module.named_parameters()}
    return losses, {name: p.detach().numpy() for name, p in parameters.items()}


def main(out):
    data = examples()
    tensors = {
        "examples/lengths": np.array([len(ids) for ids, _ in data], dtype=np.float32),
        "examples/tokens": np.array([t for ids, _ in data for t in ids], dtype=np.float32),
        "examples/first": np.array([first for _, first in data], dtype=np.float32),
    }
    with make_optimizers.muon_in_f32():
        for name, *case in CASES:
            losses, weights = run(*case)
            tensors[f"{name}/losses"] = np.array(losses, dtype=np.float32)
            tensors |= {f"{name}/{parameter}": values for parameter, values in weights.items()}
    golden.write_tensors(out, "runs/weights.safetensors", tensors)


if __name__ == "__main__":
    main(sys.argv[1])
