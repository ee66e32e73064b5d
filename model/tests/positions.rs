//! The four siblings that differ in position encoding only, as they ship: what their cards say is what comes out here, and what
//! their names promise is true of their files.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hearth_model::bundle::ModelBundle;
use hearth_model::checkpoint::source::Memory;
use hearth_model::config::{Position, RopeScaling};
use hearth_model::device;
use hearth_model::generate::score;
use hearth_model::recipe::Recipe;
use hearth_model::recipe::card::Card;
use hearth_model::recipe::corpus::read_jsonl;
use hearth_model::recipe::lengths;
use hearth_model::train::Sequence;
use hearth_model::transformer::Transformer;

const SIBLINGS: [&str; 4] = ["learned", "sinusoidal", "alibi", "rope"];

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../public/models")
}

fn folder(name: &str) -> PathBuf {
    models().join("positions").join(name)
}

fn card(name: &str) -> Card {
    serde_json::from_slice(&std::fs::read(folder(name).join("card.json")).unwrap()).unwrap()
}

fn load(folder: &Path) -> ModelBundle {
    ModelBundle::load(folder, &device::cpu(), &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Relative; threads and vector widths differ between machines, so rounding does.
fn same(here: f64, said: f64) -> bool {
    (here / said - 1.0).abs() < 1e-3
}

#[test]
fn they_are_small_and_share_their_tokenizer() {
    let tokenizer = std::fs::read(models().join("nano/tokenizer.json")).unwrap();
    for name in SIBLINGS {
        let bytes = std::fs::metadata(folder(name).join("model.safetensors")).unwrap().len();
        assert!(bytes <= 2_000_000, "{name}: {bytes}");
        assert!(std::fs::read(folder(name).join("tokenizer.json")).unwrap() == tokenizer, "{name}");
    }
}

/// Seed, shape, texts, steps: all of it. The windows of the first steps are kept, so that their order can be compared too.
#[test]
fn they_differ_in_position_only() {
    let windows = std::fs::read(folder("learned").join("first-steps.bin")).unwrap();
    let shared = |name: &str| {
        let mut recipe = Recipe::read(&folder(name).join("recipe.json")).unwrap();
        assert_eq!(recipe, card(name).recipe, "{name}");
        assert!(std::fs::read(folder(name).join("first-steps.bin")).unwrap() == windows, "{name}");
        let position = recipe.model.position.take().unwrap();
        (recipe.name, recipe.folder) = (String::new(), String::new());
        (recipe, position)
    };
    let all = SIBLINGS.map(shared);
    assert!(all.iter().all(|(recipe, _)| *recipe == all[0].0));
    assert!(matches!(
        all.map(|(_, position)| position),
        [Position::Learned, Position::Sinusoidal, Position::Alibi, Position::Rope(_)]
    ));
    let tokens = SIBLINGS.map(|name| card(name).training_tokens);
    assert!(tokens.iter().all(|count| *count == tokens[0]), "{tokens:?}");
}

#[test]
fn losses_by_position_are_the_cards() {
    // A pass makes 64 MB of logits, which would otherwise come fresh from the system every time.
    device::keep_memory();
    let documents = read_jsonl(&models().join("nano/heldout.jsonl")).unwrap();
    for name in SIBLINGS {
        let (bundle, card) = (load(&folder(name)), card(name));
        let context = card.recipe.pretrain.context;
        assert_eq!(card.recipe.lengths, [1, 2, 4, 8].map(|times| times * context), "{name}");
        let here = lengths::measure(&bundle.transformer, &bundle.tokenizer, &documents, &card.recipe.lengths);
        assert_eq!(here.len(), card.by_length.len(), "{name}");
        for (here, said) in here.iter().zip(&card.by_length) {
            let length = here.length;
            assert_eq!((length, here.stretches.len()), (said.length, said.stretches.len()), "{name}");
            assert!(same(here.mean, said.mean), "{name}, {length}: {}, but the card says {}", here.mean, said.mean);
            assert!(
                same(here.last_quarter, said.last_quarter),
                "{name}, {length}: {here:?}, but the card says {said:?}"
            );
            let pairs = here.stretches.iter().zip(&said.stretches);
            assert!(pairs.clone().all(|(here, said)| same(*here, *said)), "{name}, {length}: {here:?}, not {said:?}");
        }
    }
}

/// What the labs are to show: beyond the length it was trained at, ALiBi loses nothing and the others do. Means over all positions,
/// because these are of the same tokens at every length.
#[test]
fn only_alibi_goes_beyond_its_training_length() {
    for name in SIBLINGS {
        let rows = card(name).by_length;
        let worse = rows.last().unwrap().mean - rows.first().unwrap().mean;
        assert_eq!(worse < 0.0, name == "alibi", "{name}: {worse}");
    }
}

/// A rotation that is stretched after loading is the one that a configuration could have asked for.
#[test]
fn stretching_a_model_is_loading_it_so() {
    let (folder, scaling) = (folder("rope"), RopeScaling::yarn(4.0, card("rope").recipe.pretrain.context));
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&read("config.json")).unwrap();
    config["position"]["rope"]["scaling"] = serde_json::to_value(scaling).unwrap();
    let files = ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"];
    let files =
        files.map(|name| (name, read(name))).into_iter().chain([("config.json", config.to_string().into_bytes())]);
    let asked =
        ModelBundle::from_source(&Memory::new(files), &device::cpu(), &mut |_| ControlFlow::Continue(())).unwrap();
    let mut stretched = load(&folder);
    let ids: Vec<u32> = (0..200).map(|i| (i * 97 + 13) % 4096).collect();
    let chances = |bundle: &ModelBundle| -> Vec<f32> {
        score(bundle, &ids, 0).unwrap().iter().filter_map(|token| token.logprob).collect()
    };
    let wanted = chances(&asked);
    let apart = |bundle: &ModelBundle| {
        let found = chances(bundle);
        assert_eq!(found.len(), wanted.len());
        found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(apart(&stretched) > 1e-2, "a stretched rotation changes nothing");
    stretched.transformer.set_rope_scaling(scaling);
    assert!(apart(&stretched) < 1e-4, "{}", apart(&stretched));
}

#[test]
fn readmes_are_the_cards() {
    for name in SIBLINGS {
        assert_eq!(std::fs::read_to_string(folder(name).join("README.md")).unwrap(), card(name).readme(), "{name}");
    }
}

fn rows(model: &Transformer) -> Vec<f32> {
    model.params().into_iter().find(|(path, _)| path == "positions.weight").unwrap().1.to_vec()
}

/// A row that no gradient reached is its random start times what weight decay left of it, the same for all such rows.
#[test]
fn the_learned_table_is_trained_as_far_as_its_card_says() {
    let card = card("learned");
    let table = card.position_table.unwrap();
    assert_eq!((table.rows, table.trained), (1024, card.recipe.pretrain.context));
    let text = std::fs::read_to_string(folder("learned").join("README.md")).unwrap();
    assert!(text.contains("The table of positions has 1024 rows, of which 128 were ever trained"));
    let width = card.recipe.model.d_model;
    let start = rows(&Transformer::new(&card.recipe.config().unwrap(), card.recipe.seed, &device::cpu()));
    let end = rows(&load(&folder("learned")).transformer);
    assert_eq!((start.len(), end.len()), (table.rows * width, table.rows * width));
    // How much of the start is left, by least squares, and what of the row that does not explain.
    let fit = |row: usize| {
        let part = row * width..(row + 1) * width;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (a, b) = (&start[part.clone()], &end[part]);
        let left = dot(a, b) / dot(a, a);
        (left, 1.0 - left * dot(a, b) / dot(b, b))
    };
    let kept = fit(table.rows - 1).0;
    for row in 0..table.rows {
        let (left, rest) = fit(row);
        let untouched = (left / kept - 1.0).abs() < 1e-3 && rest < 1e-6;
        assert_eq!(untouched, row >= table.trained, "row {row}: {left} of {kept}, {rest} unexplained");
    }
}

/// The recipe's first steps on the windows that belong to them; three of the twenty that the card knows.
#[test]
fn the_first_steps_give_the_cards_losses() {
    for name in SIBLINGS {
        let card = card(name);
        let recipe = &card.recipe;
        let bytes = std::fs::read(folder(name).join("first-steps.bin")).unwrap();
        let ids: Vec<u32> = bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
        let windows = ids.chunks_exact(recipe.pretrain.context + 1).take(3 * recipe.pretrain.batch_size as usize);
        let windows: Vec<Sequence> = windows.map(|ids| Sequence::plain(ids.to_vec())).collect();
        let model = Transformer::new(&recipe.config().unwrap(), recipe.seed, &device::cpu());
        let losses = recipe.repeat(model, windows).unwrap();
        assert_eq!(losses.len(), 3);
        for (step, (here, said)) in losses.iter().zip(&card.first_losses).enumerate() {
            assert!(same(*here, *said), "{name}, step {}: {here}, but the card says {said}", step + 1);
        }
    }
}
