//! Inside a pass of hearth-nano, as the attention lab shows it: the lens ends at the model's own logits, a head that is gone changes
//! the loss by exactly its own contribution, and every head is what the card says.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::{Int, Tensor, TensorData};
use futures::executor::block_on;
use hearth_model::bundle::ModelBundle;
use hearth_model::device;
use hearth_model::look::ablate::without;
use hearth_model::look::heads::{Seen, facts, random, twice, weights};
use hearth_model::look::lens::{logits, readings};
use hearth_model::look::look;
use hearth_model::look::losses::losses;
use hearth_model::look::stack::stack;
use hearth_model::look::stream::Stream;
use hearth_model::projection::Site;
use hearth_model::recipe::card::Card;
use hearth_model::tokenizer::Special;
use hearth_model::trace::Trace;
use hearth_model::transformer::{Forward, Transformer};
use hearth_shared::lab::attention::Looked;
use hearth_shared::lab::inside::{At, TOP, mean};
use hearth_shared::learn::exercise::find;

const TEXT: &str =
    "The old man and the sea. The old man and the boy went down to the sea again, and the boy asked him why.";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../public/models/nano")
}

fn nano() -> (ModelBundle, Vec<u32>) {
    let bundle = ModelBundle::load(&folder(), &device::cpu(), &mut |_| ControlFlow::Continue(())).unwrap();
    let ids = bundle.tokenizer.encode(TEXT, Special::Parse);
    assert!(ids.len() > 20, "{} tokens", ids.len());
    (bundle, ids)
}

/// `[1, T]`
fn tokens(ids: &[u32]) -> Tensor<2, Int> {
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let shape = [1, ids.len()];
    Tensor::from_data(TensorData::new(ids, shape), &device::cpu())
}

fn read<const N: usize>(tensor: Tensor<N>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Logits of the pass that nobody looks at.
fn plain(model: &Transformer, ids: &[u32]) -> Vec<f32> {
    read(model.forward(tokens(ids), Forward::default()))
}

fn furthest(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_lens_ends_at_the_models_own_logits() {
    let (bundle, ids) = nano();
    let model = &bundle.transformer;
    let stream = Stream::of(model, &ids);
    assert_eq!(stream.states(), bundle.config.n_layers + 1);
    let last = block_on(logits(model, &stream, stream.states() - 1, 0)).unwrap();
    let own = plain(model, &ids);
    let apart = furthest(&last, &own);
    assert!(apart < 1e-4, "{apart}");
    let early = furthest(&block_on(logits(model, &stream, 0, 0)).unwrap(), &own);
    assert!(early > 1.0, "the embedding alone says the same: {early}");

    let found = block_on(readings(model, &stream, stream.states() - 1, &ids)).unwrap();
    assert_eq!(found.len(), ids.len());
    let costs = block_on(losses(model, &ids)).unwrap();
    for (place, (reading, row)) in found.iter().zip(own.chunks_exact(bundle.config.vocab_size)).enumerate() {
        let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(reading.top.len(), TOP);
        assert!((row[reading.top[0].id as usize] - best).abs() < 1e-4, "place {place}");
        assert!(reading.top.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
        match reading.next {
            None => assert_eq!(place, ids.len() - 1),
            Some(next) => {
                assert_eq!(next.id, ids[place + 1]);
                assert!((-next.probability.ln() - costs[place]).abs() < 1e-3, "place {place}: {next:?}");
            }
        }
    }
}

#[test]
fn the_stack_is_the_whole_model() {
    let (bundle, ids) = nano();
    let found = block_on(stack(&bundle.transformer, &Stream::of(&bundle.transformer, &ids))).unwrap();
    assert_eq!(found.cost().parameters, bundle.config.parameters());
    assert_eq!((found.time as usize, found.blocks.len()), (ids.len(), bundle.config.n_layers));
    for block in &found.blocks {
        for sizes in [&block.attention, &block.mlp, &block.after] {
            assert!(sizes.len() == ids.len() && sizes.iter().all(|size| size.is_finite() && *size > 0.0), "{sizes:?}");
        }
    }
}

#[test]
fn every_head_moves_the_loss() {
    let (bundle, ids) = nano();
    let model = &bundle.transformer;
    let base = mean(&block_on(losses(model, &ids)).unwrap());
    for layer in 0..bundle.config.n_layers {
        for head in 0..bundle.config.n_heads {
            let loss = mean(&block_on(losses(&without(model, layer, &[head]), &ids)).unwrap());
            assert!(loss.is_finite() && (loss - base).abs() > 1e-6, "layer {layer}, head {head}: {loss} and {base}");
        }
    }
    assert_eq!(mean(&block_on(losses(&without(model, 1, &[]), &ids)).unwrap()), base);
}

/// In the last layer: the stream without the head's part of what attention adds, through the feed-forward half and the head again.
#[test]
fn a_head_that_is_gone_takes_its_own_part_with_it() {
    let (bundle, ids) = nano();
    let (model, config) = (&bundle.transformer, &bundle.config);
    let last = config.n_layers - 1;
    let mut trace = Trace::default();
    model.hidden(tokens(&ids), Forward { trace: Some(&mut trace), ..Forward::default() });
    let before = trace.layers[last - 1].residual.clone();
    let block = &model.layers[last];
    for head in 0..config.n_heads {
        // What the head found, through its own columns: `[T, E]` by `[E, D]`.
        let own = trace.layers[last].output.clone().narrow(1, head, 1).reshape([ids.len(), config.head_dim]);
        let columns = block.attention.o_proj.weight().narrow(1, head * config.head_dim, config.head_dim);
        let part = own.matmul(columns.transpose()).reshape([1, ids.len(), config.d_model]);
        let after = before.clone() + trace.layers[last].attention.clone() - part;
        let normed = block.mlp_norm.as_ref().unwrap().forward(after.clone());
        let stream = after + block.mlp.forward(normed, Site::default(), None);
        let expected = read(model.logits(model.norm.forward(stream)));
        let apart = furthest(&plain(&without(model, last, &[head]), &ids), &expected);
        assert!(apart < 1e-3, "head {head}: {apart}");
        assert!(furthest(&plain(model, &ids), &expected) > 1e-2, "head {head} does nothing");
    }
}

#[test]
fn a_layer_without_any_head_adds_nothing() {
    let (bundle, ids) = nano();
    let all: Vec<usize> = (0..bundle.config.n_heads).collect();
    let mut silent = bundle.transformer.clone();
    for (path, mut param) in silent.params_mut() {
        if path == "layers.1.attention.o_proj.weight" {
            let count: usize = param.shape().iter().product();
            param.set(vec![0.0; count]);
        }
    }
    let apart = furthest(&plain(&without(&bundle.transformer, 1, &all), &ids), &plain(&silent, &ids));
    assert!(apart < 1e-5, "{apart}");
    assert!(furthest(&plain(&bundle.transformer, &ids), &plain(&silent, &ids)) > 0.1);
}

#[test]
fn heads_are_what_the_card_says() {
    let (bundle, ids) = nano();
    let model = &bundle.transformer;
    let random = twice(&random(bundle.config.vocab_size, 64));
    let on_text = block_on(weights(model, &ids)).unwrap();
    let on_random = block_on(weights(model, &random)).unwrap();
    let found = facts(Seen { layers: &on_text, time: ids.len() }, Seen { layers: &on_random, time: random.len() });
    let card: Card = serde_json::from_slice(&std::fs::read(folder().join("card.json")).unwrap()).unwrap();
    assert_eq!(found.len(), card.heads.len());
    for (here, said) in found.iter().zip(&card.heads) {
        assert_eq!(here.at, At { layer: said.layer as u32, head: said.head as u32 });
        assert!((here.induction - said.induction).abs() < 1e-3, "{here:?}, but the card says {said:?}");
        for (measures, time) in [(here.text, ids.len()), (here.random, random.len())] {
            assert!((0.0..=(time as f64).log2()).contains(&measures.entropy), "{measures:?}");
            assert!((0.0..time as f64).contains(&measures.distance), "{measures:?}");
            assert!((0.0..=1.0).contains(&measures.first) && (0.0..=1.0).contains(&measures.previous), "{measures:?}");
        }
    }
    // One pass of every step, as the page shows it, has the same weights.
    let seen = block_on(look(model, &ids)).unwrap();
    assert!(furthest(&seen.weights, &on_text.concat()) < 1e-6);
}

/// The text that the course's chapter begins with, in the words of the exercises: as it opens nothing is solved, and some head solves each.
#[test]
fn the_courses_exercises_can_be_solved_and_are_not_at_first() {
    let (bundle, _) = nano();
    let text = "The old man and the sea. The old man and the boy looked at the sea, and the boy looked at the old man.";
    let ids = bundle.tokenizer.encode(text, Special::Parse);
    let (time, heads) = (ids.len(), bundle.config.n_heads);
    let seen = block_on(look(&bundle.transformer, &ids)).unwrap();
    let solved = |id: &str, head: usize, row: usize| {
        let weights = &seen.weights[(head * time + row) * time..][..=row];
        let looked = Looked {
            model: "hearth-nano".to_owned(),
            layer: (head / heads) as u32,
            head: (head % heads) as u32,
            row: row as u32,
            weights: weights.to_vec(),
        };
        let state = serde_json::to_string(&looked).unwrap();
        find(id).unwrap().judge(&state).unwrap().unwrap().is_solved()
    };
    for id in ["attention-before", "attention-far"] {
        assert!(!solved(id, 0, time - 1), "{id} is solved before anybody did anything");
        let ways =
            (0..heads * bundle.config.n_layers).filter(|head| (0..time).any(|row| solved(id, *head, row))).count();
        assert!(ways > 0 && ways < heads * bundle.config.n_layers, "{ways} heads solve {id}");
    }
}
