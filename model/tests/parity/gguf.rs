//! GGUF files for llama.cpp to read, which `tests/golden/check_gguf.mjs` asks how likely they find a text.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hearth_model::bundle::{ModelBundle, Packing};
use hearth_model::device::cpu;
use hearth_model::export::{Format, Order, export};
use hearth_model::tokenizer::Special;

use super::Result;

/// llama.cpp packs what comes into a product, too: in halves beside halves, in 8 bits beside blocks. (SmolLM2 in Q8_0 is 0.002 off
/// on this text for it, and 0.015 on a famous speech; with the same numbers as f32 it has our likelihood to four digits on both.)
const FILES: [(Packing, f64); 3] = [(Packing::F16, 0.01), (Packing::Q8_0, 0.01), (Packing::Q4_0, 0.05)];

fn load(path: &Path) -> Result<ModelBundle> {
    Ok(ModelBundle::load(path, &cpu(), &mut |_| ControlFlow::Continue(()))?)
}

/// SmolLM2-135M, as set-up fetched it, and hearth-nano: what we make of each file is what the check expects of it.
#[test]
#[ignore = "writes files for `cargo xtask parity`"]
fn parity_export_gguf() -> Result {
    let folder = PathBuf::from(std::env::var("HEARTH_PARITY_OUT")?).join("gguf");
    let models = PathBuf::from(std::env::var("HEARTH_CACHE")?).join("models");
    let smollm2 = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    // The text of the project's other likelihoods.
    let text: String = std::fs::read_to_string(models.join("wiki_demo.txt"))?.chars().take(6000).collect();
    let nano = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../public/models/nano");
    let mut files = Vec::new();
    for (name, source) in [("smollm2", smollm2), ("nano", nano)] {
        let mut bundle = load(&source)?;
        let mut tokens = bundle.tokenizer.encode(&text, Special::Plain);
        for (packing, bound) in FILES {
            let file = format!("{name}-{packing:?}.gguf");
            let order = Order { format: Format::Gguf(packing), out: &folder.join(&file), text: &text, adapter: None };
            let report = export(&mut bundle, &order, &mut |_| ControlFlow::Continue(()))?;
            println!("{file}: {:.4} of {:.4}, {} bytes", report.nll_written, report.nll_source, report.bytes);
            tokens.truncate(report.tokens);
            let nll = report.nll_written;
            files.push(serde_json::json!({"file": file, "tokens": tokens, "nll": nll, "bound": bound}));
        }
    }
    let expected = serde_json::json!({"text": text, "files": files});
    std::fs::write(folder.join("expected.json"), expected.to_string())?;
    Ok(())
}
