"""Tiny random models of every supported family with the logits transformers gives for them, and the gradients of one loss:
`make_transformers.py OUT`.

The fixtures are built to fail: weights large enough that logits spread, norm weights away from 1, biases away from 0,
fewer key heads than heads, a head size that is not d_model / n_heads where the family allows it, an epsilon that matters,
prompts of different lengths, one of them longer than the sliding windows and than what RoPE was "trained" on."""

import pathlib
import sys
import tempfile

import torch
import transformers as hf
from safetensors.numpy import load_file

import golden

# No model has a padding token: torch keeps its embedding from learning, whatever stands there.
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


HEAD = {"lm_head.weight": (-0.5, 0.5)}
WIDE = {"embed_tokens.weight": (-0.6, 0.6)}
NEOX_SCALES = SCALES | {
    "ln_f.weight": (0.5, 1.5),
    "embed_in.weight": (-0.5, 0.5),
    "embed_out.weight": (-0.5, 0.5),
    "word_embeddings.weight": (-0.7, 0.7),
}
# Gemma's norms multiply by 1 + weight.
GEMMA_SCALES = {"norm.weight": (-0.5, 0.5), "layernorm.weight": (-0.5, 0.5)} | WIDE
GPT = dict(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2)
NO_DROPOUT = dict(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)


def models():
    yield (
        "llama",
        hf.LlamaForCausalLM,
        hf.LlamaConfig(
            **SMALL, head_dim=12, rms_norm_eps=1e-3, attention_bias=True, mlp_bias=True, tie_word_embeddings=False
        ),
        SCALES,
    )
    yield (
        "qwen2",
        hf.Qwen2ForCausalLM,
        hf.Qwen2Config(**SMALL, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False),
        SCALES | WIDE,
    )
    yield (
        "mistral",
        hf.MistralForCausalLM,
        hf.MistralConfig(**SMALL, head_dim=16, rms_norm_eps=1e-2, sliding_window=19, tie_word_embeddings=False),
        SCALES,
    )
    yield ("gpt2", hf.GPT2LMHeadModel, hf.GPT2Config(**GPT, n_inner=56, layer_norm_epsilon=1e-3), GPT2_SCALES)
    yield (
        "gpt_neox",
        hf.GPTNeoXForCausalLM,
        hf.GPTNeoXConfig(
            **{k: v for k, v in SMALL.items() if k != "num_key_value_heads"}, rotary_pct=0.5, layer_norm_eps=1e-3
        ),
        NEOX_SCALES,
    )
    yield (
        "gptj",
        hf.GPTJForCausalLM,
        hf.GPTJConfig(**GPT, n_inner=56, rotary_dim=4, layer_norm_epsilon=1e-3, tie_word_embeddings=False),
        GPT2_SCALES,
    )
    # Six heads: ALiBi's slopes for a number that is no power of two.
    yield (
        "bloom",
        hf.BloomForCausalLM,
        hf.BloomConfig(vocab_size=VOCAB, hidden_size=36, n_layer=2, n_head=6, layer_norm_epsilon=1e-3),
        NEOX_SCALES,
    )
    yield (
        "mixtral",
        hf.MixtralForCausalLM,
        hf.MixtralConfig(
            **SMALL, head_dim=12, rms_norm_eps=1e-3, num_local_experts=4, num_experts_per_tok=2, router_aux_loss_coef=0.5
        ),
        SCALES | HEAD,
    )
    # One layer sees everything, the other slides.
    yield (
        "qwen3",
        hf.Qwen3ForCausalLM,
        hf.Qwen3Config(
            **SMALL,
            head_dim=12,
            rms_norm_eps=1e-3,
            attention_bias=True,
            tie_word_embeddings=True,
            use_sliding_window=True,
            sliding_window=19,
            max_window_layers=1,
        ),
        SCALES | WIDE,
    )
    yield (
        "gemma2",
        hf.Gemma2ForCausalLM,
        hf.Gemma2Config(
            **SMALL,
            head_dim=12,
            rms_norm_eps=1e-3,
            query_pre_attn_scalar=20,
            attn_logit_softcapping=4.0,
            final_logit_softcapping=6.0,
            sliding_window=19,
            pad_token_id=None,
        ),
        GEMMA_SCALES,
    )
    yield (
        "phi3",
        hf.Phi3ForCausalLM,
        hf.Phi3Config(**SMALL, rms_norm_eps=1e-3, partial_rotary_factor=0.5, sliding_window=19, pad_token_id=None),
        SCALES | HEAD,
    )
    yield (
        "smollm3",
        hf.SmolLM3ForCausalLM,
        hf.SmolLM3Config(**SMALL, rms_norm_eps=1e-3, no_rope_layers=[1, 0], attention_bias=True, pad_token_id=None),
        SCALES | WIDE,
    )
    # One key head for all queries (Shazeer 2019).
    yield (
        "llama_mqa",
        hf.LlamaForCausalLM,
        hf.LlamaConfig(**SMALL | dict(num_key_value_heads=1), rms_norm_eps=1e-3, tie_word_embeddings=False),
        SCALES,
    )


# Ways to stretch RoPE, on the llama above.
STRETCHED = {
    "linear": dict(rope_type="linear", factor=4.0),
    "dynamic": dict(rope_type="dynamic", factor=4.0),
    "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    "llama3": dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=24
    ),
}


def stretched():
    for kind, scaling in STRETCHED.items():
        # Dynamic scaling begins behind this length.
        positions = 24 if kind == "dynamic" else 64
        yield (
            f"llama-{kind}",
            hf.LlamaForCausalLM,
            hf.LlamaConfig(
                **SMALL | dict(max_position_embeddings=positions),
                head_dim=12,
                rms_norm_eps=1e-3,
                attention_bias=True,
                mlp_bias=True,
                tie_word_embeddings=False,
                rope_parameters=scaling | dict(rope_theta=100.0),
            ),
            SCALES,
        )


def build(seed, kind, config, scales):
    config._attn_implementation = "eager"
    model = kind(config).eval()
    golden.randomize(model, seed, scales)
    return model


def files_of(model):
    """The tensors as save_pretrained writes them: under the names that published files have, every expert by itself."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(pathlib.Path(folder) / "model.safetensors")


def gradients(model, row):
    """The loss of one prompt (with the balance of experts, where there are any) and its gradients, under file names."""
    tokens = torch.tensor([row])
    extra = dict(output_router_logits=True) if model.config.model_type == "mixtral" else {}
    loss = model(tokens, labels=tokens, **extra).loss
    model.zero_grad()
    loss.backward()
    # In place of the weights, so that the same function names them.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    return loss.item(), files_of(model)


def main(out):
    for seed, (name, kind, config, scales) in enumerate(models()):
        model = build(seed, kind, config, scales)
        rows = golden.prompts(100 + seed, VOCAB, LENGTHS)
        golden.write_json(out, f"{name}/config.json", model.config.to_dict())
        golden.write_tensors(out, f"{name}/model.safetensors", files_of(model))
        golden.write_tensors(out, f"{name}/expected.safetensors", golden.expected(rows, golden.logits(model, rows)))
        loss, slopes = gradients(model, rows[0])
        golden.write_json(out, f"{name}/loss.json", {"loss": round(loss, 5)})
        golden.write_tensors(out, f"{name}/gradients.safetensors", slopes)
    for name, kind, config, scales in stretched():
        model = build(0, kind, config, scales)
        # Shortest first: transformers remembers the longest text that a dynamic rotation has seen.
        rows = golden.prompts(100, VOCAB, sorted(LENGTHS))
        alone = "dynamic" in name
        golden.write_json(out, f"{name}/config.json", model.config.to_dict())
        golden.write_tensors(out, f"{name}/expected.safetensors", golden.expected(rows, golden.logits(model, rows, alone)))


if __name__ == "__main__":
    main(sys.argv[1])
