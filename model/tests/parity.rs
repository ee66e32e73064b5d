//! Our logits are those of transformers and PEFT, on the tiny random models in `tests/golden`; and the fixtures can fail:
//! each wrong computation tried here is noticed.

#[path = "parity/compress.rs"]
mod compress;
#[path = "parity/gguf.rs"]
mod gguf;
#[path = "parity/golden.rs"]
mod golden;
#[path = "parity/half.rs"]
mod half;
#[path = "parity/training.rs"]
mod training;

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::Tensor;
use golden::{
    alone, batched, bundle, close, config, difference, expected, floats, golden, ids, load, pads, without_padding,
};
use hearth_model::bundle::Precision;
use hearth_model::cache::KvCache;
use hearth_model::checkpoint::safetensors::{Encoded, write};
use hearth_model::config::{Activation, BlockKind, ModelConfig, Moe, Norm, Position, Rope, RopeStyle};
use hearth_model::device;
use hearth_model::generate::{FinishReason, GenerateError, Generation, Step, score};
use hearth_model::moe::Routing;
use hearth_model::projection::{ParamMut, ParamRef};
use hearth_model::train::batches::MicroBatch;
use hearth_model::train::loss::{self, Objective};
use hearth_model::transformer::{Forward, Transformer};
use hearth_model::{adapter, lora, peft, sampler};
use hearth_shared::spec::{AdapterSpec, LoraSpec, Sampling, VirtualTokensSpec};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Of transformers, and one that it does not have.
const MODELS: [&str; 14] = [
    "llama",
    "qwen2",
    "mistral",
    "gpt2",
    "gpt_neox",
    "gptj",
    "bloom",
    "mixtral",
    "qwen3",
    "gemma2",
    "phi3",
    "smollm3",
    "llama_mqa",
    PALM,
];
/// By the formulas of its paper (`tests/golden/make_palm.py`).
const PALM: &str = "palm";
/// Llama with its RoPE stretched.
const STRETCHED: [&str; 4] = ["llama-linear", "llama-dynamic", "llama-yarn", "llama-llama3"];
/// Each on the model before its hyphen.
const ADAPTERS: [&str; 20] = [
    "llama",
    "qwen2",
    "gpt2",
    "llama-dora",
    "gpt2-dora",
    "llama-ia3",
    "gpt2-ia3",
    "bloom-ia3",
    "qwen3",
    "gemma2",
    "phi3",
    "gpt_neox",
    "gptj",
    "bloom",
    "llama-prompt",
    "gpt2-prompt",
    "gemma2-prompt",
    "qwen2-prefix",
    "gpt2-prefix",
    "gpt_neox-prefix",
];
/// What f32 may differ by when the order of additions does.
const TOLERANCE: f32 = 1e-4;

#[test]
fn logits_are_those_of_transformers_and_of_palms_paper() -> Result {
    assert_eq!(config(PALM)?, ModelConfig::palm(128, 16, 3, 4, 64), "the preset is what is held to the paper");
    for name in MODELS {
        let expected = expected(name)?;
        let model = load(name, &config(name)?, &device::cpu())?;
        close(name, &alone(&model, &expected), &expected.logits);
        close(name, &batched(&model, &expected), &expected.logits);
        let count: usize = model.params().iter().map(|(_, p)| p.shape().iter().product::<usize>()).sum();
        assert_eq!(count as u64, model.config().parameters());
    }
    Ok(())
}

#[test]
fn stretched_rotations_are_those_of_transformers() -> Result {
    for name in STRETCHED {
        let expected = expected(name)?;
        let model = load("llama", &config(name)?, &device::cpu())?;
        close(name, &alone(&model, &expected), &expected.logits);
        let plain = Rope::new(100.0);
        let plain = ModelConfig { position: Position::Rope(plain), ..config(name)? };
        let d = difference(&alone(&load("llama", &plain, &device::cpu())?, &expected), &expected.logits);
        assert!(d > 10.0 * TOLERANCE, "{name} without its scaling is off by {d} only");
    }
    Ok(())
}

/// One prompt's mean loss (and the balance of its experts): every parameter's gradient.
#[test]
fn gradients_are_those_of_transformers() -> Result {
    for name in MODELS {
        let row = expected(name)?.rows.remove(0);
        let device = device::cpu().autodiff();
        let model = bundle(name, &device)?.transformer.train();
        let time = row.len();
        let batch = MicroBatch {
            rows: 1,
            time,
            positions: (0..time as i32 - 1).collect(),
            targets: row[1..].to_vec(),
            owners: vec![0; time - 1],
            segments: None,
            first_row: 0,
            lengths: vec![time],
            inputs: row,
        };
        let mut routing = Routing::default();
        let ctx = Forward { routing: Some(&mut routing), ..Forward::default() };
        let hidden = model.hidden(ids(std::slice::from_ref(&batch.inputs), &device), ctx);
        let count = batch.targets.len() as f64;
        let weights = vec![1.0 / count as f32; time - 1];
        let (losses, scalar) = loss::cross_entropy(&model, hidden, &batch, Objective::default(), &weights);
        let mut scalar = scalar.ok_or("there is something to train")?;
        let mut loss = losses.read().0.loss / count;
        if let Some((moe, balance)) = model.config().moe.zip(routing.balance(None)) {
            loss += moe.balance * f64::from(balance.clone().into_scalar::<f32>());
            scalar = scalar + balance * moe.balance;
        }
        let text = std::fs::read_to_string(golden(name).join("loss.json"))?;
        let reference = serde_json::from_str::<serde_json::Value>(&text)?["loss"].as_f64().ok_or("no loss")?;
        assert!((loss - reference).abs() < 1e-4, "{name}: a loss of {loss}, not {reference}");

        let gradients = scalar.backward();
        let expected = golden::gradients(name)?;
        let expected: BTreeMap<_, _> = expected.params().into_iter().collect();
        for (path, param) in model.params() {
            let ours = match param {
                ParamRef::Vector(param) => param.val().grad(&gradients).map(|g| g.into_data()),
                ParamRef::Matrix(param) => param.val().grad(&gradients).map(|g| g.into_data()),
            };
            let ours: Vec<f32> = ours.ok_or_else(|| format!("{name}: {path} has no gradient"))?.try_into_vec()?;
            let theirs = expected[&path].to_vec();
            let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
            let off = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b)) / norm(&mut theirs.iter().copied());
            // The bias of a key adds the same to all of a query's scores, and softmax doesn't see it: noise on both sides.
            let key_bias = path.ends_with("k_proj.bias") && norm(&mut theirs.iter().copied()) < 1e-6;
            assert!(off < 1e-3 || key_bias, "{name}: the gradient of {path} is off by {off}");
        }
    }
    Ok(())
}

/// The model an adapter is for.
fn adapted(folder: &str) -> &str {
    folder.split('-').next().unwrap_or(folder)
}

#[test]
fn logits_with_adapters_are_those_of_peft() -> Result {
    for folder in ADAPTERS {
        let expected = expected(&format!("peft-{folder}"))?;
        let device = device::cpu();
        let name = adapted(folder);
        let mut model = load(name, &config(name)?, &device)?;
        let base = alone(&model, &expected);
        assert!(difference(&base, &expected.logits) > 0.1, "{name}: the adapter does nothing");
        let spec = peft::load(&golden(&format!("peft-{folder}")), &mut model, &device)?;
        match &spec {
            AdapterSpec::Lora(spec) => assert_eq!(spec.dora, folder.ends_with("-dora")),
            AdapterSpec::Ia3 => assert!(folder.ends_with("-ia3")),
            AdapterSpec::Prefix(_) => assert!(folder.ends_with("-prefix")),
            AdapterSpec::Prompt(_) => assert!(folder.ends_with("-prompt")),
            AdapterSpec::Bottleneck(_) => return Err("PEFT has none".into()),
        }
        close(folder, &alone(&model, &expected), &expected.logits);

        // Our own files give the same again.
        let files = peft::to_files(&model, &spec, name)?;
        let mut again = load(name, &config(name)?, &device)?;
        assert_eq!(peft::from_files(&files, &mut again, &device)?, spec);
        assert_eq!(alone(&again, &expected), alone(&model, &expected));

        let merged = adapter::merge(&mut model);
        assert_eq!(adapter::is_adapted(&model), spec.virtual_tokens() > 0);
        close(folder, &alone(&model, &expected), &expected.logits);
        adapter::unmerge(&mut model, merged);
        close(folder, &alone(&model, &expected), &expected.logits);
        adapter::remove(&mut model);
        close(folder, &alone(&model, &expected), &base);
        adapter::remove(&mut again);
        assert_eq!(alone(&again, &expected), base);
    }
    Ok(())
}

/// Prefill in pieces, then token by token, a padded batch: all the same as one forward pass.
#[test]
fn cached_decoding_is_the_full_forward() -> Result {
    let virtual_tokens = ADAPTERS.iter().filter(|folder| folder.ends_with("-prefix") || folder.ends_with("-prompt"));
    let folders: Vec<String> = virtual_tokens.map(|folder| format!("peft-{folder}")).collect();
    for name in MODELS.into_iter().chain(folders.iter().map(String::as_str)) {
        let expected = expected(name)?;
        let base = adapted(name.trim_start_matches("peft-"));
        let mut model = load(base, &config(base)?, &device::cpu())?;
        if name != base {
            peft::load(&golden(name), &mut model, &device::cpu())?;
        }
        let pads = pads(&expected);
        let tokens = ids(&expected.rows, &model.device());
        let time = tokens.dims()[1];
        // Room for few positions, so that the cache has to grow.
        let mut cache = KvCache::new(model.config(), expected.rows.len(), 8);
        let mut pieces = Vec::new();
        let mut from = 0;
        // Virtual tokens stand behind the padding, which the first call has to hold.
        let pieces_of = if name == base { [10, 20] } else { [46, 2] };
        for size in pieces_of.into_iter().chain(std::iter::repeat_n(1, time - pieces_of.iter().sum::<usize>())) {
            let ctx = Forward { cache: Some(&mut cache), left_pad: Some(&pads), ..Forward::default() };
            pieces.push(model.forward(tokens.clone().narrow(1, from, size), ctx));
            from += size;
        }
        assert_eq!(cache.len(), time + model.config().max_positions - model.context());
        let logits = floats(Tensor::cat(pieces, 1));
        close(name, &without_padding(&logits, &pads, &expected), &expected.logits);
    }
    Ok(())
}

/// All prompts in one row, separated by document numbers only.
#[test]
fn packed_documents_do_not_see_each_other() -> Result {
    for name in MODELS {
        let expected = expected(name)?;
        let model = load(name, &config(name)?, &device::cpu())?;
        let row: Vec<i32> = expected.rows.concat();
        let segments: Vec<u32> =
            (0..).zip(&expected.rows).flat_map(|(i, row)| std::iter::repeat_n(i, row.len())).collect();
        let ctx = Forward { segments: Some(&[segments]), ..Forward::default() };
        let logits = model.forward(ids(&[row], &model.device()), ctx);
        close(name, &floats(logits), &expected.logits);
    }
    Ok(())
}

#[test]
fn interleaved_rotation_equals_half_split_with_its_rows_permuted() -> Result {
    let mut config = config("llama")?;
    let expected = expected("llama")?;
    let half_split = load("llama", &config, &device::cpu())?;
    let Position::Rope(rope) = config.position else {
        return Err("llama rotates".into());
    };
    config.position = Position::Rope(Rope { style: RopeStyle::Interleaved, ..rope });
    let mut model = Transformer::empty(&config, &device::cpu());
    let head = config.head_dim;
    let source: BTreeMap<_, _> = half_split.params().into_iter().collect();
    model.load(&mut |path, shape| {
        let values = source[path].to_vec();
        if !path.contains("q_proj") && !path.contains("k_proj") {
            return Ok::<_, String>(Some(values));
        }
        // Row 2i of a head comes from row i, row 2i + 1 from row i + E/2.
        let width = values.len() / shape[0];
        let row = |to: usize| to / head * head + to % head / 2 + to % 2 * (head / 2);
        let rows = (0..shape[0]).flat_map(|to| &values[row(to) * width..(row(to) + 1) * width]);
        Ok(Some(rows.copied().collect()))
    })?;
    close("interleaved", &alone(&model, &expected), &expected.logits);
    Ok(())
}

/// What is wrong must be seen: the same files read with one setting changed are far from the reference.
#[test]
fn fixtures_notice_a_wrong_setting() -> Result {
    let far = |name: &str, what: &str, config: ModelConfig| -> Result {
        let d = difference(&alone(&load(name, &config, &device::cpu())?, &expected(name)?), &expected(name)?.logits);
        assert!(d > 10.0 * TOLERANCE, "{name} with a wrong {what} is off by {d} only");
        Ok(())
    };
    for name in ["llama", "qwen2", "mistral"] {
        let right = config(name)?;
        let Position::Rope(rope) = right.position else {
            return Err("these rotate".into());
        };
        let interleaved = Position::Rope(Rope { style: RopeStyle::Interleaved, ..rope });
        far(name, "RoPE flavour", ModelConfig { position: interleaved, ..right.clone() })?;
        let theta = Position::Rope(Rope { theta: 1.5 * rope.theta, ..rope });
        far(name, "RoPE base", ModelConfig { position: theta, ..right.clone() })?;
    }
    for name in ["llama", "mistral", "gpt2"] {
        far(name, "epsilon", ModelConfig { norm_eps: 1e-6, ..config(name)? })?;
    }
    let gemma = config("gemma2")?;
    far("gemma2", "norm offset", ModelConfig { norm_offset: 0.0, ..gemma.clone() })?;
    far("gemma2", "query scalar", ModelConfig { query_scalar: None, ..gemma.clone() })?;
    far("gemma2", "score cap", ModelConfig { attention_softcap: None, ..gemma.clone() })?;
    far("gemma2", "logit cap", ModelConfig { logit_softcap: None, ..gemma.clone() })?;
    far("gemma2", "embedding scale", ModelConfig { embedding_scale: None, ..gemma.clone() })?;
    far("gemma2", "layer pattern", ModelConfig { sliding_layers: vec![false, true], ..gemma })?;
    let qwen3 = config("qwen3")?;
    far("qwen3", "layer pattern", ModelConfig { sliding_layers: Vec::new(), ..qwen3 })?;
    far("smollm3", "layer without rotation", ModelConfig { unrotated_layers: Vec::new(), ..config("smollm3")? })?;
    far("bloom", "position", ModelConfig { position: Position::None, ..config("bloom")? })?;
    far("gpt_neox", "block", ModelConfig { block: BlockKind::Serial, ..config("gpt_neox")? })?;
    let mixtral = config("mixtral")?;
    let moe = mixtral.moe.ok_or("mixtral has experts")?;
    far("mixtral", "choice", ModelConfig { moe: Some(Moe { top_k: 1, ..moe }), ..mixtral.clone() })?;
    far("mixtral", "weighting", ModelConfig { moe: Some(Moe { renormalize: false, ..moe }), ..mixtral })?;
    let palm = config(PALM)?;
    far(PALM, "norm", ModelConfig { norm: Norm::Rms, ..palm.clone() })?;
    far(PALM, "activation", ModelConfig { activation: Activation::Gelu, ..palm.clone() })?;
    far(PALM, "embedding scale", ModelConfig { embedding_scale: None, ..palm.clone() })?;
    far(PALM, "RoPE flavour", ModelConfig { position: Position::Rope(Rope::new(10_000.0)), ..palm })?;
    for name in ["gptj", "phi3", "gpt_neox"] {
        let right = config(name)?;
        let Position::Rope(rope) = right.position else {
            return Err("these rotate".into());
        };
        let whole = Position::Rope(Rope { dims: None, ..rope });
        far(name, "share of a head", ModelConfig { position: whole, ..right })?;
    }
    far("mistral", "window", ModelConfig { sliding_window: Some(20), ..config("mistral")? })?;
    far("mistral", "window", ModelConfig { sliding_window: None, ..config("mistral")? })?;
    Ok(())
}

/// Key heads handed to the wrong queries: head 0's group gets head 1's keys.
#[test]
fn fixtures_notice_a_wrong_grouping() -> Result {
    for name in ["llama", "qwen2", "mistral"] {
        let expected = expected(name)?;
        let mut model = load(name, &config(name)?, &device::cpu())?;
        let (e, kv, heads) = (model.config().head_dim, model.config().kv_heads, model.config().n_heads);
        let group = heads / kv;
        for (path, mut param) in model.params_mut() {
            if !path.contains("q_proj") && !path.contains("o_proj") {
                continue;
            }
            // Queries in the order `h % K` instead of `h / G`: what repeating keys as a whole instead of each one does.
            let shape = param.shape();
            let values = match &param {
                ParamMut::Vector(p) => ParamRef::Vector(p).to_vec(),
                ParamMut::Matrix(p) => ParamRef::Matrix(p).to_vec(),
            };
            let from = |h: usize| (h % kv) * group + h / kv;
            let columns = shape.get(1).copied().unwrap_or(1);
            let moved = |i: usize| match path.contains("o_proj.weight") {
                true => {
                    let (row, column) = (i / columns, i % columns);
                    values[row * columns + from(column / e) * e + column % e]
                }
                false if path.contains("o_proj") => values[i],
                false => {
                    let (row, column) = (i / columns, i % columns);
                    values[(from(row / e) * e + row % e) * columns + column]
                }
            };
            let moved = (0..values.len()).map(moved).collect();
            param.set(moved);
        }
        // Both permuted alike: grouping aside nothing changed, so a difference is the grouping's.
        let d = difference(&alone(&model, &expected), &expected.logits);
        assert!(d > 10.0 * TOLERANCE, "{name} with wrong groups is off by {d} only");
    }
    Ok(())
}

#[test]
fn fixtures_notice_a_wrong_scale() -> Result {
    for folder in ADAPTERS {
        let expected = expected(&format!("peft-{folder}"))?;
        let device = device::cpu();
        let name = adapted(folder);
        let mut model = load(name, &config(name)?, &device)?;
        let AdapterSpec::Lora(spec) = peft::load(&golden(&format!("peft-{folder}")), &mut model, &device)? else {
            continue;
        };
        let wrong = LoraSpec { rslora: !spec.rslora, ..spec }.scale();
        for (_, projection) in model.projections_mut() {
            if let Some(lora) = &mut projection.lora {
                lora.scale = wrong;
            }
        }
        let d = difference(&alone(&model, &expected), &expected.logits);
        assert!(d > 10.0 * TOLERANCE, "{folder} with a wrong scale is off by {d} only");
    }
    Ok(())
}

#[test]
fn unsupported_adapters_are_refused_by_name() -> Result {
    let dir = golden("peft-llama");
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join(peft::CONFIG))?)?;
    let weights = std::fs::read(dir.join(peft::WEIGHTS))?;
    let cases = [
        ("use_qalora", serde_json::json!(true)),
        ("bias", serde_json::json!("all")),
        ("modules_to_save", serde_json::json!(["lm_head"])),
        ("peft_type", serde_json::json!("LOHA")),
        ("rank_pattern", serde_json::json!({"q_proj": 8})),
        ("init_lora_weights", serde_json::json!("pissa")),
        ("some_future_setting", serde_json::json!(3)),
    ];
    for (field, value) in cases {
        let mut config = config.clone();
        config[field] = value;
        let files = peft::AdapterFiles { config: serde_json::to_vec(&config)?, weights: weights.clone() };
        let mut model = load("llama", &self::config("llama")?, &device::cpu())?;
        let Err(error) = peft::from_files(&files, &mut model, &device::cpu()) else {
            return Err(format!("{field} was accepted").into());
        };
        assert!(error.to_string().contains(field), "{error} does not name {field}");
        assert!(!adapter::is_adapted(&model));
    }
    let scratch = tempfile::tempdir()?;
    std::fs::write(scratch.path().join("adapter_model.bin"), b"\x80\x02")?;
    let mut model = load("llama", &self::config("llama")?, &device::cpu())?;
    let error = peft::load(scratch.path(), &mut model, &device::cpu()).map(|_| ()).map_err(|e| e.to_string());
    assert!(error.is_err_and(|e| e.contains("pickle")));
    Ok(())
}

/// A traced pass computes the same and its steps fit together.
#[test]
fn a_trace_shows_the_steps_of_the_same_computation() -> Result {
    let expected = expected("llama")?;
    let model = load("llama", &config("llama")?, &device::cpu())?;
    let mut trace = hearth_model::trace::Trace::default();
    let tokens = ids(&expected.rows[..1], &model.device());
    let ctx = Forward { trace: Some(&mut trace), ..Forward::default() };
    let logits = floats(model.forward(tokens, ctx));
    close("traced", &logits, &expected.logits[..logits.len()]);
    let c = model.config();
    assert_eq!(trace.layers.len(), c.n_layers);
    for layer in &trace.layers {
        assert_eq!(layer.weights.dims(), [1, c.n_heads, 52, 52]);
        let sums: Vec<f32> = layer.weights.clone().sum_dim(3).into_data().try_into_vec()?;
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        let query: Vec<f32> = layer.q.clone().narrow(2, 51, 1).narrow(1, 3, 1).into_data().try_into_vec()?;
        let key: Vec<f32> = layer.k.clone().narrow(2, 17, 1).narrow(1, 1, 1).into_data().try_into_vec()?;
        let score: Vec<f32> =
            layer.scores.clone().narrow(1, 3, 1).narrow(2, 51, 1).narrow(3, 17, 1).into_data().try_into_vec()?;
        let dot: f32 = query.iter().zip(&key).map(|(q, k)| q * k).sum();
        assert!((score[0] - dot / (c.head_dim as f32).sqrt()).abs() < 1e-4);
    }
    Ok(())
}

/// Token by token with a cache, the same tokens as from the whole text's logits each time.
#[test]
fn generation_follows_the_model() -> Result {
    for name in MODELS {
        let bundle = bundle(name, &device::cpu())?;
        let prompt: Vec<u32> = expected(name)?.rows[2].iter().map(|id| *id as u32).collect();
        let run = |sampling: &Sampling, max_tokens| -> Result<(Vec<u32>, FinishReason)> {
            let mut generation = Generation::new(&bundle, &prompt, sampling, max_tokens)?;
            loop {
                if let Step::Finished(reason) = generation.step(&bundle) {
                    return Ok((generation.generated().to_vec(), reason));
                }
            }
        };
        let mut text = prompt.clone();
        let eos = loop {
            let row: Vec<i32> = text.iter().map(|id| *id as i32).collect();
            let ctx = Forward { last_only: true, ..Forward::default() };
            let logits = bundle.transformer.forward(ids(&[row], &device::cpu()), ctx);
            assert_eq!(logits.dims(), [1, 1, 128]);
            let next = sampler::argmax(&floats(logits));
            if bundle.eos.contains(&next) || text.len() == prompt.len() + 20 {
                break bundle.eos.contains(&next);
            }
            text.push(next);
        };
        let (greedy, reason) = run(&Sampling::greedy(), Some(20))?;
        assert_eq!(greedy, text[prompt.len()..], "{name}");
        assert_eq!(reason == FinishReason::Stop, eos && greedy.len() < 20);

        let warm = Sampling { seed: Some(9), temperature: 1.5, ..Sampling::default() };
        let (drawn, _) = run(&warm, Some(20))?;
        assert_eq!(drawn, run(&warm, Some(20))?.0, "{name}: a seed fixes the tokens");
        assert_ne!(drawn, run(&Sampling { seed: Some(10), ..warm.clone() }, Some(20))?.0);
        assert_eq!(run(&warm, Some(0))?, (Vec::new(), FinishReason::Length));
        // Never past the context, whatever is asked for.
        let (all, reason) = run(&warm, Some(1000))?;
        let end = bundle.config.max_positions.min(prompt.len() + 1000);
        assert!(reason == FinishReason::Stop || prompt.len() + all.len() == end);

        let scores = score(&bundle, &text, 2)?;
        assert_eq!(scores.len(), text.len());
        assert!(scores[0].logprob.is_none());
        for scored in &scores[prompt.len()..] {
            assert_eq!(scored.top[0].0, scored.id, "greedy tokens are the most likely ones");
            assert_eq!(Some(scored.top[0].1), scored.logprob);
        }
    }
    Ok(())
}

#[test]
fn impossible_prompts_are_refused() -> Result {
    let (bundle, warm) = (bundle("llama", &device::cpu())?, Sampling::default());
    assert!(matches!(Generation::new(&bundle, &[], &warm, None), Err(GenerateError::EmptyPrompt)));
    assert!(matches!(Generation::new(&bundle, &[500], &warm, None), Err(GenerateError::UnknownToken { .. })));
    assert!(matches!(Generation::new(&bundle, &[3; 65], &warm, None), Err(GenerateError::TooLong { .. })));
    Ok(())
}

/// For `cargo xtask parity`: our own checkpoints and adapters with the logits they must give in transformers and PEFT
/// (`tests/golden/check_export.py`).
#[test]
#[ignore = "writes for the reference implementations; cargo xtask parity runs it"]
fn parity_export() -> Result {
    let out = PathBuf::from(std::env::var("HEARTH_PARITY_OUT")?);
    for name in MODELS.into_iter().filter(|name| *name != PALM) {
        bundle(name, &device::cpu())?.save(&out.join(name), Precision::F32)?;
    }
    for folder in ADAPTERS {
        let device = device::cpu();
        let name = adapted(folder);
        let mut model = load(name, &config(name)?, &device)?;
        let low_rank = LoraSpec {
            r: 3,
            alpha: 5.0,
            dropout: 0.05,
            target_modules: lora::names(&model).into_iter().step_by(2).map(str::to_owned).collect(),
            rslora: name == "llama",
            dora: folder.ends_with("-dora"),
        };
        let tokens = VirtualTokensSpec { virtual_tokens: 4 };
        let spec = match folder.split_once('-').map(|(_, kind)| kind) {
            Some("ia3") => AdapterSpec::Ia3,
            Some("prefix") => AdapterSpec::Prefix(tokens),
            Some("prompt") => AdapterSpec::Prompt(tokens),
            _ => AdapterSpec::Lora(low_rank),
        };
        adapter::apply(&mut model, &spec, 11, &device)?;
        for (path, mut param) in model.params_mut() {
            if path.ends_with("lora.b") {
                // As after training: anything but zero.
                let count = param.shape().iter().product::<usize>();
                param.set((0..count).map(|i| ((i * 37 % 23) as f32 - 11.0) / 40.0).collect());
            } else if path.ends_with("lora.magnitude") || path.ends_with(".ia3") {
                let count = param.shape().iter().product::<usize>();
                param.set((0..count).map(|i| 0.5 + (i * 37 % 23) as f32 / 20.0).collect());
            }
        }
        let dir = out.join(format!("peft-{folder}"));
        peft::save(&dir, &model, &spec, name)?;
        let expected = expected(name)?;
        let logits = alone(&model, &expected);
        assert!(difference(&logits, &expected.logits) > 0.1, "the adapter does something");
        let shape = vec![logits.len() / expected.vocab, expected.vocab];
        let tensors = BTreeMap::from([("logits".to_owned(), Encoded::new(Precision::F32, shape, &logits))]);
        write(&dir.join("expected.safetensors"), &tensors)?;
    }
    Ok(())
}
