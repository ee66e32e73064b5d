//! RoPE in `config.json`: transformers 4 has `rope_theta` and `rope_scaling`, 5 has both inside `rope_parameters`.

use serde_json::{Map, Value, json};

use super::{ConfigError, Fields};
use crate::config::{Position, Rope, RopeScaling, RopeStyle};

/// What a family says about RoPE where the file is silent.
pub(super) struct Defaults {
    pub theta: f64,
    /// Top-level names of theta and of the share of each head that rotates; none where all of it must.
    pub theta_field: &'static str,
    pub share_field: Option<(&'static str, f64)>,
}

impl Defaults {
    pub fn theta(theta: f64) -> Self {
        Self { theta, theta_field: "rope_theta", share_field: None }
    }
}

pub(super) fn read(
    fields: &Fields<'_>,
    defaults: &Defaults,
    head_dim: usize,
    max_positions: usize,
) -> Result<Position, ConfigError> {
    let mut theta = fields.real(defaults.theta_field, defaults.theta)?;
    let mut share = match defaults.share_field {
        Some((field, default)) => fields.real(field, default)?,
        None => 1.0,
    };
    if defaults.share_field.is_none() {
        fields.must_be("partial_rotary_factor", json!(1.0))?;
    }
    let mut scaling = RopeScaling::None;
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(value) = fields.get(name) else {
            continue;
        };
        let inner = Fields(value.as_object().ok_or_else(|| ConfigError::invalid(name, value))?);
        theta = inner.real("rope_theta", theta)?;
        let inner_share = inner.real("partial_rotary_factor", share)?;
        if defaults.share_field.is_none() && inner_share != 1.0 {
            return Err(ConfigError::unsupported(&format!("{name}.partial_rotary_factor"), inner_share));
        }
        share = inner_share;
        // The old name of the same field.
        let key = if inner.get("rope_type").is_some() { "rope_type" } else { "type" };
        let kind = inner.text(key, "default")?;
        if kind != "default" {
            let at = |error| within(name, error);
            scaling = read_scaling(&inner, kind, max_positions)
                .map_err(at)?
                .ok_or_else(|| ConfigError::unsupported(&format!("{name}.{key}"), kind))?;
        }
    }
    if !(share > 0.0 && share <= 1.0) {
        return Err(ConfigError::invalid("partial_rotary_factor", share));
    }
    let dims = (share < 1.0).then_some((head_dim as f64 * share) as usize);
    Ok(Position::Rope(Rope { theta, style: RopeStyle::HalfSplit, dims, scaling }))
}

/// Names the object a faulty field is in.
fn within(object: &str, error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Missing { field } => ConfigError::Missing { field: format!("{object}.{field}") },
        ConfigError::Invalid { field, value } => ConfigError::Invalid { field: format!("{object}.{field}"), value },
        other => other,
    }
}

/// None where the kind is unknown.
fn read_scaling(inner: &Fields<'_>, kind: &str, max_positions: usize) -> Result<Option<RopeScaling>, ConfigError> {
    let need = |field: &str| {
        let value = inner.get(field).ok_or_else(|| ConfigError::Missing { field: field.to_owned() })?;
        value.as_f64().ok_or_else(|| ConfigError::invalid(field, value))
    };
    let original = inner.size("original_max_position_embeddings")?.unwrap_or(max_positions);
    Ok(Some(match kind {
        "linear" => RopeScaling::Linear { factor: need("factor")? },
        "dynamic" => RopeScaling::Dynamic { factor: need("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original,
        },
        "yarn" => {
            let factor = inner.real("factor", max_positions as f64 / original.max(1) as f64)?;
            RopeScaling::Yarn {
                factor,
                original,
                beta_fast: inner.real("beta_fast", 32.0)?,
                beta_slow: inner.real("beta_slow", 1.0)?,
                attention_factor: attention_factor(inner, factor)?,
                truncate: inner.flag("truncate", true)?,
            }
        }
        _ => return Ok(None),
    }))
}

/// `0.1 · ln(factor) + 1` (Peng 2023, equation 22), or the ratio of two such where the file weighs both (DeepSeek).
fn attention_factor(inner: &Fields<'_>, factor: f64) -> Result<f64, ConfigError> {
    let scale = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let (above, below) = (inner.real("mscale", 0.0)?, inner.real("mscale_all_dim", 0.0)?);
    let default = if above != 0.0 && below != 0.0 { scale(above) / scale(below) } else { scale(1.0) };
    inner.real("attention_factor", default)
}

/// The fields of a rotation: theta, share and `rope_scaling`.
pub(super) fn write(rope: &Rope, defaults: &Defaults, head_dim: usize) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert(defaults.theta_field.to_owned(), json!(rope.theta));
    if let Some((field, _)) = defaults.share_field {
        let share = rope.dims.map_or(1.0, |dims| dims as f64 / head_dim as f64);
        out.insert(field.to_owned(), json!(share));
    }
    let scaling = match rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        // Only before it is written as another theta.
        RopeScaling::Ntk { factor } => json!({"rope_type": "ntk", "factor": factor}),
        RopeScaling::Dynamic { factor } => json!({"rope_type": "dynamic", "factor": factor}),
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "attention_factor": attention_factor,
            "truncate": truncate,
        }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original,
        }),
    };
    out.insert("rope_scaling".to_owned(), scaling);
    out
}
