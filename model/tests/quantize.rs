//! Fewer bits on hearth-nano, as the quantization lab measures them: size and perplexity on held-out tokens.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::path::PathBuf;

use futures::executor::block_on;
use hearth_model::bundle::ModelBundle;
use hearth_model::compress::search::Search;
use hearth_model::compress::trial::{Matrix, Weights};
use hearth_model::device;
use hearth_model::look::losses::{losses, windows};
use hearth_model::transformer::Transformer;
use hearth_shared::lab::{held_out, quantize};
use hearth_shared::learn::exercise::find;
use hearth_shared::spec::{Calibration, Grain, QuantizeSpec};

struct Bench {
    bundle: ModelBundle,
    weights: Weights,
    windows: Vec<Vec<u32>>,
    base: f64,
}

fn nll(model: &Transformer, windows: &[Vec<u32>]) -> f64 {
    let all: Vec<f32> = windows.iter().flat_map(|window| block_on(losses(model, window)).unwrap()).collect();
    assert_eq!(all.len(), quantize::TOKENS);
    all.iter().map(|loss| f64::from(*loss)).sum::<f64>() / all.len() as f64
}

impl Bench {
    fn new() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../public/models/nano");
        let bundle = ModelBundle::load(&folder, &device::cpu(), &mut |_| ControlFlow::Continue(())).unwrap();
        let texts = held_out::beginnings(
            &std::fs::read_to_string(folder.join("heldout.jsonl")).unwrap(),
            quantize::TEXTS,
            quantize::CHARACTERS,
        );
        let windows = windows(&bundle.tokenizer, &texts, quantize::TOKENS / quantize::WINDOW, quantize::WINDOW);
        let weights = block_on(Weights::read(&bundle.transformer)).unwrap();
        let base = nll(&bundle.transformer, &windows);
        Self { bundle, weights, windows, base }
    }

    /// How much the perplexity rises, as a share, and the share of bytes that is left.
    fn cost(&self, spec: &QuantizeSpec) -> (f64, f64) {
        let bits = vec![spec.weight_bits; self.weights.matrices.len()];
        let (model, _) = self.weights.rounded(&self.bundle.transformer, &bits, spec);
        let bytes = self.weights.bytes(&bits, spec) as f64 / self.weights.full_bytes() as f64;
        ((nll(&model, &self.windows) - self.base).exp() - 1.0, bytes)
    }
}

#[test]
fn eight_bits_a_row_are_a_quarter_of_the_size_within_a_per_cent() {
    let (rise, bytes) = Bench::new().cost(&QuantizeSpec::default());
    assert!(rise.abs() < 0.01, "perplexity rises by {rise}");
    assert!((0.25..0.26).contains(&bytes), "{bytes} of the size");
}

#[test]
fn fewer_bits_cost_more_and_finer_grains_less() {
    let bench = Bench::new();
    let spec = |bits| QuantizeSpec { weight_bits: Some(bits), ..QuantizeSpec::default() };
    let rises = [8, 6, 4, 3, 2].map(|bits| bench.cost(&spec(bits)).0);
    // Below a per cent noise decides.
    assert!(rises[1] < 0.02 && rises.windows(2).skip(1).all(|pair| pair[0] < pair[1]), "{rises:?}");
    assert!(rises[4] > 1.0, "two bits a row leave little of it: {rises:?}");
    let of = |grain, calibration| bench.cost(&QuantizeSpec { grain, calibration, ..spec(4) }).0;
    let (tensor, block) = (of(Grain::Tensor, Calibration::MinMax), of(Grain::Block, Calibration::MinMax));
    assert!(block < rises[2] && rises[2] < tensor, "block {block}, row {}, tensor {tensor}", rises[2]);
    let least = of(Grain::Tensor, Calibration::Mse);
    assert!(least < tensor, "the least error gives {least}, the outermost numbers {tensor}");
    let inputs = |bits| bench.cost(&QuantizeSpec { input_bits: Some(bits), weight_bits: None, ..spec(8) }).0;
    let (eight, four) = (inputs(8), inputs(4));
    assert!(eight.abs() < 0.02 && four > eight * 2.0, "inputs in 8 bits {eight}, in 4 {four}");
}

#[test]
fn the_search_keeps_its_bound() {
    let bench = Bench::new();
    let spec = QuantizeSpec::default();
    let matrices = &bench.weights.matrices;
    let saved = matrices.iter().map(|m| m.bytes(Some(8), &spec) - m.bytes(Some(4), &spec)).collect();
    let mut search = Search::new(saved, bench.base, 0.02);
    while let Some(bits) = search.next() {
        let bits: Vec<Option<u8>> = bits.into_iter().map(Some).collect();
        search.tell(nll(&bench.weights.rounded(&bench.bundle.transformer, &bits, &spec).0, &bench.windows));
    }
    let (bits, loss, within) = search.found().unwrap();
    assert!(within && (loss - bench.base).exp() - 1.0 <= 0.02);
    let few = bits.iter().filter(|bits| **bits == 4).count();
    assert!(few > 0 && few < bits.len(), "{few} of {} in 4 bits", bits.len());
}

/// What the lab publishes, as far as the course's exercises read it.
fn tried(bench: &Bench, spec: &QuantizeSpec, spared: &str) -> String {
    let matrices = &bench.weights.matrices;
    let bits: Vec<Option<u8>> =
        matrices.iter().map(|matrix| spec.weight_bits.filter(|_| matrix.group() != spared)).collect();
    let (model, _) = bench.weights.rounded(&bench.bundle.transformer, &bits, spec);
    let loss = |nll| quantize::Loss { nll, tokens: quantize::TOKENS as u32, ms: 0.0 };
    let error = |(matrix, bits): (&Matrix, &Option<u8>)| quantize::MatrixError {
        path: matrix.path.clone(),
        group: matrix.group().to_owned(),
        rows: 0,
        cols: 0,
        bits: *bits,
        bytes: 0,
        error: 0.0,
    };
    let tried = quantize::Tried {
        base: loss(bench.base),
        loss: loss(nll(&model, &bench.windows)),
        full_bytes: bench.weights.full_bytes(),
        bytes: bench.weights.bytes(&bits, spec),
        matrices: matrices.iter().zip(&bits).map(error).collect(),
        picture: quantize::Picture::default(),
    };
    serde_json::to_string(&tried).unwrap()
}

#[test]
fn the_courses_exercises_can_be_solved_and_not_by_anything() {
    let bench = Bench::new();
    let solved = |id, spec: &QuantizeSpec, spared| {
        find(id).unwrap().judge(&tried(&bench, spec, spared)).unwrap().unwrap().is_solved()
    };
    let four = QuantizeSpec { weight_bits: Some(4), ..QuantizeSpec::default() };
    let coarse = QuantizeSpec { grain: Grain::Tensor, ..four };
    let fine = QuantizeSpec { grain: Grain::Block, symmetric: false, ..four };
    assert!(!solved("quantize-four", &coarse, "") && !solved("quantize-four", &four, ""));
    // Fine rulers alone just miss it: whom to spare is the third dial.
    assert!(!solved("quantize-four", &fine, "") && solved("quantize-four", &fine, "embed"));
    assert!(!solved("quantize-eight", &four, "") && !solved("quantize-eight", &QuantizeSpec::default(), "embed"));
    assert!(solved("quantize-eight", &QuantizeSpec::default(), ""));
}
