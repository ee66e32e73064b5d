"""Tiny random models of every supported family with the logits transformers gives for them: `make_transformers.py OUT`.

The fixtures are built to fail: weights large enough that logits spread, norm weights away from 1, biases away from 0,
fewer key heads than heads, a head size that is not d_model / n_heads, an epsilon that matters, prompts of different
lengths, one of them longer than Mistral's window."""

import sys

from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import golden

VOCAB = 128
LENGTHS = [52, 31, 7]
# Norms away from 1, biases away from 0.
SCALES = {"norm.weight": (0.5, 1.5), "layernorm.weight": (0.5, 1.5), ".bias": (-0.5, 0.5), "embed_tokens.weight": (-0.3, 0.3)}
GPT2_SCALES = {
    "ln_1.weight": (0.5, 1.5),
    "ln_2.weight": (0.5, 1.5),
    "ln_f.weight": (0.5, 1.5),
    ".bias": (-0.5, 0.5),
    "wte.weight": (-0.5, 0.5),
    "wpe.weight": (-0.5, 0.5),
    "c_fc.weight": (-0.3, 0.3),
    "c_attn.weight": (-0.3, 0.3),
    "c_proj.weight": (-0.2, 0.2),
}
SMALL = dict(
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)


def models():
    yield (
        "llama",
        LlamaForCausalLM,
        LlamaConfig(
            **SMALL, head_dim=12, rms_norm_eps=1e-3, attention_bias=True, mlp_bias=True, tie_word_embeddings=False
        ),
        SCALES,
    )
    yield (
        "qwen2",
        Qwen2ForCausalLM,
        Qwen2Config(**SMALL, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False),
        SCALES | {"embed_tokens.weight": (-0.6, 0.6)},
    )
    yield (
        "mistral",
        MistralForCausalLM,
        MistralConfig(**SMALL, head_dim=16, rms_norm_eps=1e-2, sliding_window=19, tie_word_embeddings=False),
        SCALES,
    )
    yield (
        "gpt2",
        GPT2LMHeadModel,
        GPT2Config(
            vocab_size=VOCAB,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_inner=56,
            n_positions=64,
            layer_norm_epsilon=1e-3,
            bos_token_id=1,
            eos_token_id=2,
        ),
        GPT2_SCALES,
    )


def build(seed, kind, config, scales):
    config._attn_implementation = "eager"
    model = kind(config).eval()
    golden.randomize(model, seed, scales)
    return model


def main(out):
    for seed, (name, kind, config, scales) in enumerate(models()):
        model = build(seed, kind, config, scales)
        rows = golden.prompts(100 + seed, VOCAB, LENGTHS)
        golden.write_json(out, f"{name}/config.json", model.config.to_dict())
        golden.write_tensors(out, f"{name}/model.safetensors", golden.parameters(model))
        golden.write_tensors(out, f"{name}/expected.safetensors", golden.expected(rows, golden.logits(model, rows)))


if __name__ == "__main__":
    main(sys.argv[1])
