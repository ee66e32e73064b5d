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

# Folder, model, settings (of IA3: beside PEFT's own choice of modules).
ADAPTERS = [
    ("llama", "llama", dict(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"])),
    (
        "qwen2",
        "qwen2",
        dict(r=4, lora_alpha=6, target_modules=["k_proj", "o_proj", "gate_proj", "up_proj"], use_rslora=True),
    ),
    ("gpt2", "gpt2", dict(r=2, lora_alpha=5, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, lora_dropout=0.1)),
    ("llama-dora", "llama", dict(r=3, lora_alpha=7, target_modules=["k_proj", "o_proj", "up_proj"], use_dora=True)),
    ("gpt2-dora", "gpt2", dict(r=2, lora_alpha=5, target_modules=["c_attn"], fan_in_fan_out=True, use_dora=True)),
    ("llama-ia3", "llama", None),
    ("gpt2-ia3", "gpt2", dict(fan_in_fan_out=True)),
    ("bloom-ia3", "bloom", None),
    ("qwen3", "qwen3", dict(r=2, lora_alpha=5, target_modules=["q_proj", "k_proj", "down_proj"])),
    ("gemma2", "gemma2", dict(r=2, lora_alpha=5, target_modules=["v_proj", "o_proj", "gate_proj"])),
    ("phi3", "phi3", dict(r=2, lora_alpha=5, target_modules=["qkv_proj", "gate_up_proj"])),
    ("gpt_neox", "gpt_neox", dict(r=2, lora_alpha=5, target_modules=["query_key_value", "dense_h_to_4h"])),
    ("gptj", "gptj", dict(r=2, lora_alpha=5, target_modules=["q_proj", "out_proj", "fc_in"])),
    ("bloom", "bloom", dict(r=2, lora_alpha=5, target_modules=["query_key_value", "dense_4h_to_h"])),
    ("llama-prompt", "llama", dict(num_virtual_tokens=5)),
    ("gpt2-prompt", "gpt2", dict(num_virtual_tokens=3)),
    # Its embeddings are scaled, those of virtual tokens are not.
    ("gemma2-prompt", "gemma2", dict(num_virtual_tokens=4)),
    # PEFT knows no other head size than d_model / n_heads.
    ("qwen2-prefix", "qwen2", dict(num_virtual_tokens=5)),
    ("gpt2-prefix", "gpt2", dict(num_virtual_tokens=3)),
    ("gpt_neox-prefix", "gpt_neox", dict(num_virtual_tokens=4)),
]


def main(out):
    models = {name: (seed, *rest) for seed, (name, *rest) in enumerate(make_transformers.models())}
    for folder, name, settings in ADAPTERS:
        seed, kind, config, scales = models[name]
        model = make_transformers.build(seed, kind, config, scales)
        other = {"ia3": peft.IA3Config, "prompt": peft.PromptTuningConfig, "prefix": peft.PrefixTuningConfig}
        if method := other.get(folder.rpartition("-")[2]):
            spec = method(task_type="CAUSAL_LM", **(settings or {}))
        else:
            spec = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings)
        model = peft.get_peft_model(model, spec).eval()
        adapter = {k: v for k, v in model.named_parameters() if any(part in k for part in ["lora_", "ia3_", "prompt_encoder"])}
        # A magnitude is about as long as the row that it stretches, a factor about 1; all else is random.
        scales = {"lora_magnitude_vector.default.weight": (0.5, 2), "ia3_l.default": (0.3, 2), "embedding.weight": (-1, 1)}
        golden.randomize(Named(adapter), 200 + seed, scales)
        rows = golden.prompts(300 + seed, make_transformers.VOCAB, make_transformers.LENGTHS)
        with tempfile.TemporaryDirectory() as scratch:
            model.save_pretrained(scratch)
            tensors = load_file(pathlib.Path(scratch) / "adapter_model.safetensors")
            settings = json.loads((pathlib.Path(scratch) / "adapter_config.json").read_text())
        # PEFT keeps the targets in a set, in any order.
        for key in ["target_modules", "feedforward_modules"]:
            if key in settings:
                settings[key] = sorted(settings[key])
        settings["base_model_name_or_path"] = name
        golden.write_json(out, f"peft-{folder}/adapter_config.json", settings)
        golden.write_tensors(out, f"peft-{folder}/adapter_model.safetensors", tensors)
        values = golden.logits(model, rows, only_alone="prompt_encoder" in " ".join(adapter))
        golden.write_tensors(out, f"peft-{folder}/expected.safetensors", golden.expected(rows, values))


class Named:
    """Parameters by name, for `randomize`."""

    def __init__(self, parameters):
        self.parameters = parameters

    def named_parameters(self):
        return self.parameters.items()


if __name__ == "__main__":
    main(sys.argv[1])
