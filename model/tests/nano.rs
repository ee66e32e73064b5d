//! hearth-nano as it ships: what its card says is what comes out here.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::path::PathBuf;

use hearth_model::bundle::ModelBundle;
use hearth_model::device;
use hearth_model::recipe::Recipe;
use hearth_model::recipe::card::{Card, bits_per_byte};
use hearth_model::recipe::corpus::read_jsonl;
use hearth_model::train::Sequence;
use hearth_model::transformer::Transformer;

fn nano() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../public/models/nano")
}

fn card() -> Card {
    serde_json::from_slice(&std::fs::read(nano().join("card.json")).unwrap()).unwrap()
}

#[test]
fn the_model_is_small() {
    let bytes = std::fs::metadata(nano().join("model.safetensors")).unwrap().len();
    assert!(bytes <= 6_000_000, "{bytes}");
}

#[test]
fn bits_per_byte_are_the_cards() {
    let bundle = ModelBundle::load(&nano(), &device::cpu(), &mut |_| ControlFlow::Continue(())).unwrap();
    let documents = read_jsonl(&nano().join("heldout.jsonl")).unwrap();
    let card = card();
    for row in card.held_out {
        let window = card.recipe.pretrain.context;
        let here = bits_per_byte(&bundle.transformer, &bundle.tokenizer, &documents, row.language, window);
        assert_eq!((here.bytes, here.tokens), (row.model.bytes, row.model.tokens));
        let (here, said) = (here.value(), row.model.value());
        assert!((here / said - 1.0).abs() < 1e-4, "{:?}: {here}, but the card says {said}", row.language);
    }
}

#[test]
fn the_readme_is_the_card() {
    assert_eq!(std::fs::read_to_string(nano().join("README.md")).unwrap(), card().readme());
    assert_eq!(Recipe::read(&nano().join("recipe.json")).unwrap(), card().recipe);
}

/// The recipe's first twenty steps on the windows that belong to them. Threads and vector widths differ between machines, so
/// rounding does; 1e-3 is far below what a change of data, seed or arithmetic makes.
#[test]
fn the_first_steps_give_the_cards_losses() {
    let recipe = Recipe::read(&nano().join("recipe.json")).unwrap();
    let bytes = std::fs::read(nano().join("first-steps.bin")).unwrap();
    let ids: Vec<u32> = bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
    let windows = ids.chunks_exact(recipe.pretrain.context + 1);
    let windows: Vec<Sequence> = windows.map(|ids| Sequence::plain(ids.to_vec())).collect();
    assert_eq!(windows.len(), 20 * recipe.pretrain.batch_size as usize);
    let model = Transformer::new(&recipe.config().unwrap(), recipe.seed, &device::cpu());
    let losses = recipe.repeat(model, windows).unwrap();
    for (step, (here, said)) in losses.iter().zip(&card().first_losses).enumerate() {
        assert!((here / said - 1.0).abs() < 1e-3, "step {}: {here}, but the card says {said}", step + 1);
    }
}
