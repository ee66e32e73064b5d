"""Random PEFT adapters on the tiny models of make_transformers.py with PEFT's logits: `make_peft.py OUT`.

`init_lora_weights=False` makes B random, so that an adapter does something; r and alpha differ; only some projections
have one; one adapter scales by alpha / sqrt(r)."""

import json
import pathlib
import sys
import tempfile

import peft
from safetensors.numpy import load_file

import golden
import make_transformers

ADAPTERS = {
    "llama": dict(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"]),
    "qwen2": dict(r=4, lora_alpha=6, target_modules=["k_proj", "o_proj", "gate_proj", "up_proj"], use_rslora=True),
    "gpt2": dict(r=2, lora_alpha=5, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, lora_dropout=0.1),
}


def main(out):
    for seed, (name, kind, config, scales) in enumerate(make_transformers.models()):
        if name not in ADAPTERS:
            continue
        model = make_transformers.build(seed, kind, config, scales)
        spec = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **ADAPTERS[name])
        model = peft.get_peft_model(model, spec).eval()
        adapter = {k: v for k, v in model.named_parameters() if "lora_" in k}
        golden.randomize(Named(adapter), 200 + seed, {})
        rows = golden.prompts(300 + seed, make_transformers.VOCAB, make_transformers.LENGTHS)
        with tempfile.TemporaryDirectory() as scratch:
            model.save_pretrained(scratch)
            tensors = load_file(pathlib.Path(scratch) / "adapter_model.safetensors")
            settings = json.loads((pathlib.Path(scratch) / "adapter_config.json").read_text())
        # PEFT keeps the targets in a set, in any order.
        settings["target_modules"] = sorted(settings["target_modules"])
        settings["base_model_name_or_path"] = name
        golden.write_json(out, f"peft-{name}/adapter_config.json", settings)
        golden.write_tensors(out, f"peft-{name}/adapter_model.safetensors", tensors)
        values = golden.logits(model, rows)
        golden.write_tensors(out, f"peft-{name}/expected.safetensors", golden.expected(rows, values))


class Named:
    """Parameters by name, for `randomize`."""

    def __init__(self, parameters):
        self.parameters = parameters

    def named_parameters(self):
        return self.parameters.items()


if __name__ == "__main__":
    main(sys.argv[1])
