"""What Hearth wrote loads in transformers and PEFT and gives Hearth's logits there: `check_export.py IN`, with the folder
that the test `parity_export` filled."""

import pathlib
import sys

import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

import golden

TOLERANCE = 1e-4
MODELS = "llama qwen2 mistral gpt2 gpt_neox gptj bloom mixtral qwen3 gemma2 phi3 smollm3 llama_mqa".split()
ADAPTERS = "llama qwen2 gpt2 llama-dora gpt2-dora llama-ia3 gpt2-ia3 bloom-ia3 qwen3 gemma2 phi3 gpt_neox gptj bloom".split()
VIRTUAL = "llama-prompt gpt2-prompt gemma2-prompt qwen2-prefix gpt2-prefix gpt_neox-prefix".split()


def prompts(name):
    expected = load_file(golden.HERE / name / "expected.safetensors")
    tokens = iter(expected["tokens"].astype(int).tolist())
    return [[next(tokens) for _ in range(int(length))] for length in expected["lengths"]]


def check(what, model, rows, expected, only_alone=False):
    difference = abs(golden.logits(model.eval(), rows, only_alone) - expected).max()
    print(f"{what}: off by {difference:.1e}")
    if not difference < TOLERANCE:
        sys.exit(f"{what} differs by {difference}, more than {TOLERANCE}")


def main(folder):
    folder = pathlib.Path(folder)
    for name in MODELS:
        model = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32, attn_implementation="eager")
        expected = load_file(golden.HERE / name / "expected.safetensors")["logits"]
        check(f"our checkpoint of {name}", model, prompts(name), expected)
        for short in ("f16", "bf16"):
            ours = folder / f"{name}-{short}"
            model = AutoModelForCausalLM.from_pretrained(ours, dtype=torch.float32, attn_implementation="eager")
            expected = load_file(ours / "expected.safetensors")["logits"]
            check(f"our checkpoint of {name} in {short}", model, prompts(name), expected)
    for folder_name in ADAPTERS + VIRTUAL:
        name = folder_name.split("-")[0]
        base = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32, attn_implementation="eager")
        ours = folder / f"peft-{folder_name}"
        model = PeftModel.from_pretrained(base, ours)
        expected = load_file(ours / "expected.safetensors")["logits"]
        check(f"our adapter {folder_name}", model, prompts(name), expected, only_alone=folder_name in VIRTUAL)


if __name__ == "__main__":
    main(sys.argv[1])
