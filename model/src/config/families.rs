//! How each family cuts the weights of a block into matrices, and what its checkpoints (and so PEFT's adapters) call them.
//! Matrices that a family joins stay joined here, so that an adapter on one is the adapter PEFT knows.

use super::{Architecture, ModelConfig};

/// Where queries, keys and values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputNames {
    /// `q_proj`, `k_proj`, `v_proj`
    Split,
    /// One matrix: all queries, then all keys, then all values.
    Joined(&'static str),
    /// One matrix: query, key and value of the first head, then of the second, …
    ByHead(&'static str),
}

/// The matrices of a feed-forward half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MlpNames {
    /// `gate_proj`, `up_proj`, `down_proj`
    Gated,
    /// `gate_up_proj` (gate first), `down_proj`
    Joined,
    /// Two matrices: in, out.
    Plain(&'static str, &'static str),
}

impl Architecture {
    /// What the family's `config.json` calls a field of [`ModelConfig`] that shapes weights; any other keeps its name.
    pub(crate) fn word(self, field: &str) -> &str {
        let gpt = matches!(self, Self::Gpt2 | Self::Gptj);
        match field {
            field if self == Self::Hearth => field,
            "d_model" if gpt => "n_embd",
            "ffn_dim" if gpt => "n_inner",
            "max_positions" if gpt => "n_positions",
            "n_layers" if gpt || self == Self::Bloom => "n_layer",
            "n_heads" | "kv_heads" if gpt || self == Self::Bloom => "n_head",
            "d_model" => "hidden_size",
            "ffn_dim" => "intermediate_size",
            "max_positions" => "max_position_embeddings",
            "n_layers" => "num_hidden_layers",
            "n_heads" => "num_attention_heads",
            "kv_heads" => "num_key_value_heads",
            "tied" => "tie_word_embeddings",
            field => field,
        }
    }
}

impl ModelConfig {
    pub(crate) fn input_names(&self) -> InputNames {
        match self.model_type {
            Architecture::Gpt2 => InputNames::Joined("c_attn"),
            Architecture::Phi3 => InputNames::Joined("qkv_proj"),
            Architecture::GptNeox | Architecture::Bloom => InputNames::ByHead("query_key_value"),
            _ => InputNames::Split,
        }
    }

    pub(crate) fn output_name(&self) -> &'static str {
        match self.model_type {
            Architecture::Gpt2 => "c_proj",
            Architecture::GptNeox | Architecture::Bloom => "dense",
            Architecture::Gptj => "out_proj",
            _ => "o_proj",
        }
    }

    pub(crate) fn mlp_names(&self) -> MlpNames {
        match self.model_type {
            Architecture::Phi3 => MlpNames::Joined,
            _ if self.mlp_gated => MlpNames::Gated,
            Architecture::Gpt2 => MlpNames::Plain("c_fc", "c_proj"),
            Architecture::GptNeox | Architecture::Bloom => MlpNames::Plain("dense_h_to_4h", "dense_4h_to_h"),
            Architecture::Gptj => MlpNames::Plain("fc_in", "fc_out"),
            _ => MlpNames::Plain("up_proj", "down_proj"),
        }
    }
}
