//! A tiny model, bare and adapted, in every format; and what is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

use burn::tensor::Device;
use hearth_shared::spec::{BottleneckSpec, LoraSpec, VirtualTokensSpec};

use super::*;
use crate::bundle::ModelHead;
use crate::chat_template::ChatTemplate;
use crate::chat_template::tests::byte_tokenizer;
use crate::config::{Gpt2Size, ModelConfig};
use crate::device::cpu;
use crate::transformer::Transformer;

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";

fn tiny(config: ModelConfig) -> ModelBundle {
    let tokenizer = byte_tokenizer();
    let template = Some(ChatTemplate::new(CHATML, tokenizer.names().clone()).unwrap());
    let mut transformer = Transformer::new(&config, 1, &cpu());
    // A fresh model finds everything equally likely, whatever is wrong with it.
    for (path, mut param) in transformer.params_mut() {
        if path.ends_with("weight") && param.shape().len() == 2 {
            param.set(param.to_vec().into_iter().map(|v| 8.0 * v).collect());
        }
    }
    ModelBundle { transformer, config, tokenizer, template, eos: vec![2, 0] }
}

fn llama() -> ModelBundle {
    tiny(ModelConfig::llama(260, 64, 2, (4, 2), 300))
}

fn gpt2() -> ModelBundle {
    let small = ModelConfig::gpt2(Gpt2Size::Small, 260);
    let (head_dim, ffn_dim) = (32, 128);
    tiny(ModelConfig {
        d_model: 64,
        n_layers: 2,
        n_heads: 2,
        kv_heads: 2,
        head_dim,
        ffn_dim,
        max_positions: 300,
        ..small
    })
}

fn adapted(bundle: &mut ModelBundle, spec: &AdapterSpec, device: &Device) {
    adapter::apply(&mut bundle.transformer, spec, 3, device).unwrap();
    for (path, mut param) in bundle.transformer.params_mut() {
        if path.ends_with("lora.b") {
            let count = param.shape().iter().product::<usize>();
            param.set((0..count).map(|i| ((i * 37 % 23) as f32 - 11.0) / 40.0).collect());
        }
    }
}

fn lora() -> AdapterSpec {
    AdapterSpec::Lora(LoraSpec { r: 3, alpha: 5.0, target_modules: vec!["q_proj".into()], ..LoraSpec::default() })
}

fn go_on(_: Stage) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn order<'a>(format: Format, out: &'a Path, adapter: Option<&'a AdapterSpec>) -> Order<'a> {
    Order { format, out, text: TEXT, adapter: adapter.map(|spec| Adapted { spec, base: "tiny" }) }
}

const FORMATS: [Format; 7] = [
    Format::HuggingFace(Precision::F32),
    Format::HuggingFace(Precision::F16),
    Format::HuggingFace(Precision::BF16),
    Format::Gguf(Packing::F32),
    Format::Gguf(Packing::F16),
    Format::Gguf(Packing::Q8_0),
    Format::Gguf(Packing::Q4_0),
];

#[test]
fn every_format_is_the_same_model() {
    let dir = tempfile::tempdir().unwrap();
    for (family, make) in [("llama", llama as fn() -> ModelBundle), ("gpt2", gpt2)] {
        for format in FORMATS {
            let out = dir.path().join(format!("{family}-{format:?}.gguf"));
            let report = export(&mut make(), &order(format, &out, None), &mut go_on).unwrap();
            assert_eq!(report.tokens, 300);
            assert!((report.nll_source - report.nll_written).abs() <= format.bound());
            // Not the likelihood of chance, which a wrong model has too.
            assert!((report.nll_source - 260f64.ln()).abs() > 0.3, "{}", report.nll_source);
            let exact = matches!(format, Format::HuggingFace(Precision::F32) | Format::Gguf(Packing::F32));
            assert!(!exact || report.nll_source == report.nll_written, "{family} {format:?}: {report:?}");
            let read = ModelBundle::load(&out, &cpu(), &mut |_| ControlFlow::Continue(())).unwrap();
            let source = make();
            assert_eq!(read.template.unwrap().source(), CHATML);
            assert_eq!(read.eos, source.eos);
            assert_eq!(read.tokenizer.names().eos, source.tokenizer.names().eos);
            assert_eq!(read.config.canonical().n_layers, 2);
            assert!(report.bytes > 0 && report.files.iter().all(|file| file.starts_with(&out)));
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 14, "nothing is left beside them");
}

#[test]
fn an_adapter_is_merged_or_written_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spec = lora();
    let (device, bare) = (cpu(), llama());
    let ids = tokens(&bare, TEXT).unwrap();
    let base = mean_nll(&bare, &ids, &mut || ControlFlow::Continue(())).unwrap();
    for format in FORMATS.into_iter().chain([Format::Peft]) {
        let mut bundle = llama();
        adapted(&mut bundle, &spec, &device);
        let out = dir.path().join(format!("{format:?}.gguf"));
        let report = export(&mut bundle, &order(format, &out, Some(&spec)), &mut go_on).unwrap();
        assert!((report.nll_source - base).abs() > 2.0 * report.nll_source.min(0.02), "the adapter does nothing");
        assert_eq!(adapter::is_adapted(&bundle.transformer), format == Format::Peft);
        if format == Format::Peft {
            let names: Vec<_> = report.files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
            assert_eq!(names, [peft::CONFIG, peft::WEIGHTS]);
            let mut again = llama().transformer;
            assert_eq!(peft::load(&out, &mut again, &device).unwrap(), spec);
        }
    }
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.gguf");
    let refused = |bundle: &mut ModelBundle, order: Order<'_>| export(bundle, &order, &mut go_on).unwrap_err();
    let gguf = Format::Gguf(Packing::F16);
    assert!(matches!(refused(&mut llama(), order(Format::Peft, &out, None)), ExportError::Peft(PeftError::NotAdapted)));
    let elsewhere = dir.path().join("m.bin");
    assert!(matches!(refused(&mut llama(), order(gguf, &elsewhere, None)), ExportError::Name { .. }));
    let short = Order { text: "Too short.", ..order(gguf, &out, None) };
    assert!(matches!(refused(&mut llama(), short), ExportError::Short { tokens: 10, least: 256 }));

    let prefix = AdapterSpec::Prefix(VirtualTokensSpec { virtual_tokens: 4 });
    let mut bundle = llama();
    adapted(&mut bundle, &prefix, &cpu());
    assert!(matches!(
        refused(&mut bundle, order(gguf, &out, Some(&prefix))),
        ExportError::Unmergeable { method: Tuning::Prefix }
    ));
    let bottleneck = AdapterSpec::Bottleneck(BottleneckSpec::default());
    let mut bundle = llama();
    adapted(&mut bundle, &bottleneck, &cpu());
    assert!(matches!(refused(&mut bundle, order(Format::Peft, &out, Some(&bottleneck))), ExportError::NotOfPeft));
    let merged = refused(&mut bundle, order(gguf, &out, Some(&bottleneck)));
    assert!(matches!(merged, ExportError::Unmergeable { method: Tuning::Bottleneck }), "{merged}");

    let mut bundle = llama();
    bundle.eos = vec![2, 0, 50, 51];
    let error = refused(&mut bundle, order(gguf, &out, None)).to_string();
    assert!(error.contains("eos_token_id"), "{error}");
    let mut bundle = llama();
    for (path, mut param) in bundle.transformer.params_mut() {
        if path == "layers.1.mlp.up_proj.weight" {
            param.set(param.to_vec().into_iter().map(|v| v * 1e9).collect());
        }
    }
    let error = refused(&mut bundle, order(gguf, &out, None)).to_string();
    assert!(error.contains("layers.1.mlp.up_proj.weight") && error.contains("F16"), "{error}");

    // A parallel block without biases is no model of transformers, whatever it is called.
    let parallel = || tiny(ModelConfig::palm(260, 64, 2, 4, 300));
    let folder = dir.path().join("palm");
    let hf = order(Format::HuggingFace(Precision::F32), &folder, None);
    let error = refused(&mut parallel(), hf).to_string();
    let field = error.split('`').nth(3).unwrap();
    let known = serde_json::to_value(parallel().config).unwrap();
    assert!(field != "model_type" && known.get(field).is_some(), "{error}");

    let mut calls = 0;
    let mut stop = |stage| {
        calls += 1;
        if stage == Stage::Comparing { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let cancelled = export(&mut llama(), &order(gguf, &out, None), &mut stop);
    assert!(matches!(cancelled, Err(ExportError::Cancelled)) && calls > 5);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");

    std::fs::write(&out, "mine").unwrap();
    assert!(matches!(refused(&mut llama(), order(gguf, &out, None)), ExportError::Exists { .. }));
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
}

/// What the writers say when a model is loaded is said of its headers, word for word.
#[test]
fn headers_tell_what_the_weights_would_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.gguf");
    fn head(bundle: &ModelBundle) -> ModelHead {
        let (config, eos) = (bundle.config.clone(), bundle.eos.clone());
        ModelHead { config, tokenizer: byte_tokenizer(), template: None, eos, weight_bytes: 0 }
    }
    let gguf = Format::Gguf(Packing::F16);
    let said = |bundle: &mut ModelBundle, format: Format, spec: Option<&AdapterSpec>, method: Option<Tuning>| {
        let early = refuse(&head(bundle), method, format).unwrap_err().to_string();
        let late = export(bundle, &order(format, &out, spec), &mut go_on).unwrap_err().to_string();
        assert_eq!(early, late);
    };
    let tokens = VirtualTokensSpec { virtual_tokens: 4 };
    for (spec, method) in [
        (AdapterSpec::Prefix(tokens), Tuning::Prefix),
        (AdapterSpec::Prompt(tokens), Tuning::Prompt),
        (AdapterSpec::Bottleneck(BottleneckSpec::default()), Tuning::Bottleneck),
    ] {
        let mut bundle = llama();
        adapted(&mut bundle, &spec, &cpu());
        said(&mut bundle, gguf, Some(&spec), Some(method));
    }
    said(&mut llama(), Format::Peft, None, None);
    let palm = || tiny(ModelConfig::palm(260, 64, 2, 4, 300));
    said(&mut palm(), Format::HuggingFace(Precision::F32), None, None);
    said(&mut palm(), gguf, None, None);
    for format in FORMATS {
        assert!(refuse(&head(&llama()), Some(Tuning::Lora), format).is_ok());
    }
}

/// Each block of 32 has one large weight that meets a zero: nothing to the source, but in 4 bits all others become zeros beside
/// it. The written model is another one, and goes.
#[test]
fn a_model_that_computes_something_else_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("m.gguf");
    let mut bundle = llama();
    for (path, mut param) in bundle.transformer.params_mut() {
        let large = if path.contains("layers") && path.ends_with("norm.weight") {
            0.0
        } else if ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"].iter().any(|name| path.contains(name)) {
            50.0
        } else {
            continue;
        };
        param.set(param.to_vec().into_iter().enumerate().map(|(i, v)| if i % 32 == 0 { large } else { v }).collect());
    }
    let error = export(&mut bundle, &order(Format::Gguf(Packing::Q4_0), &out, None), &mut go_on).unwrap_err();
    assert!(matches!(error, ExportError::Far { .. }), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
