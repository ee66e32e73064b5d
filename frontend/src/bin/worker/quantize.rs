//! The quantization lab: the open model with its numbers rounded, measured on held-out tokens.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use hearth_model::{
    compress::{
        search::{FEW, MANY, Search},
        trial::{Matrix, Weights},
    },
    look::losses::{losses, windows},
    transformer::Transformer,
};
use hearth_shared::lab::{
    LabError, Reply, Stage,
    quantize::{Ask, Found, GroupLoss, Loss, Searched, TOKENS, Task as Wanted, Tried, WINDOW},
};
use hearth_shared::spec::QuantizeSpec;

use crate::{
    desk::{Done, Task},
    engine::{Lab, Open, lost},
    port,
};

/// What is worked out once for an open model.
#[derive(Default)]
pub struct Bench(RefCell<Option<Rc<Ready>>>);

struct Ready {
    /// Of the model that this belongs to.
    hash: String,
    windows: Vec<Vec<u32>>,
    weights: Weights,
    base: Loss,
}

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    let open = lab.current()?;
    let ready = ready(task, &lab.quantize, &open, &ask.texts).await?;
    let trial = Trial { task, open: &open, ready: &ready, spec: ask.spec, spared: &ask.spared, mixed: &ask.mixed };
    let found = match ask.task {
        Wanted::Try { matrix } => Found::Tried(trial.tried(&matrix).await?),
        Wanted::Sensitivity => trial.sensitivity().await?,
        Wanted::Search { bound } => Found::Searched(trial.search(bound).await?),
    };
    Ok(Done { reply: Reply::Quantize(Box::new(found)), buffers: Vec::new() })
}

async fn ready(task: &Rc<Task>, bench: &Bench, open: &Open, texts: &[String]) -> Result<Rc<Ready>, LabError> {
    let known = bench.0.borrow().clone().filter(|ready| ready.hash == open.hash);
    if let Some(ready) = known {
        return Ok(ready);
    }
    *bench.0.borrow_mut() = None;
    let windows = windows(&open.bundle.tokenizer, texts, TOKENS / WINDOW, WINDOW);
    if windows.is_empty() {
        return Err(LabError::Other { message: format!("no held-out text has {WINDOW} tokens") });
    }
    let weights = Weights::read(&open.bundle.transformer).await.map_err(lost)?;
    // The first pass of all is slower than those after it; the model as it is must not look slower than the rounded one for that.
    measure(task, &open.bundle.transformer, &windows[..1]).await?;
    let base = measure(task, &open.bundle.transformer, &windows).await?;
    let ready = Rc::new(Ready { hash: open.hash.clone(), windows, weights, base });
    *bench.0.borrow_mut() = Some(ready.clone());
    Ok(ready)
}

async fn measure(task: &Rc<Task>, model: &Transformer, windows: &[Vec<u32>]) -> Result<Loss, LabError> {
    let start = port::now();
    let (mut sum, mut tokens) = (0.0, 0);
    for window in windows {
        task.breathe().await?;
        let found = losses(model, window).await.map_err(lost)?;
        tokens += found.len() as u32;
        sum += found.iter().map(|loss| f64::from(*loss)).sum::<f64>();
    }
    Ok(Loss { nll: sum / f64::from(tokens.max(1)), tokens, ms: port::now() - start })
}

struct Trial<'a> {
    task: &'a Rc<Task>,
    open: &'a Open,
    ready: &'a Ready,
    spec: QuantizeSpec,
    spared: &'a [String],
    /// Bits of matrices that have bits of their own.
    mixed: &'a BTreeMap<String, u8>,
}

impl Trial<'_> {
    /// Its own bits, or everybody's.
    fn bits_of(&self, matrix: &Matrix) -> Option<u8> {
        self.mixed.get(&matrix.path).copied().or(self.spec.weight_bits)
    }

    /// Bits of every matrix, those that are spared left out.
    fn bits(&self) -> Vec<Option<u8>> {
        let spared = |group: &str| self.spared.iter().any(|name| name == group);
        let matrices = self.ready.weights.matrices.iter();
        matrices.map(|matrix| self.bits_of(matrix).filter(|_| !spared(matrix.group()))).collect()
    }

    async fn loss(&self, bits: &[Option<u8>], spec: &QuantizeSpec) -> Result<Loss, LabError> {
        let (model, _) = self.ready.weights.rounded(&self.open.bundle.transformer, bits, spec);
        measure(self.task, &model, &self.ready.windows).await
    }

    async fn tried(&self, matrix: &str) -> Result<Tried, LabError> {
        let weights = &self.ready.weights;
        let bits = self.bits();
        self.task.tell(Stage::Forward, 0, None, None);
        let (model, matrices, picture) = weights.pictured(&self.open.bundle.transformer, &bits, &self.spec, matrix);
        let loss = measure(self.task, &model, &self.ready.windows).await?;
        Ok(Tried {
            base: self.ready.base,
            loss,
            full_bytes: weights.full_bytes(),
            bytes: weights.bytes(&bits, &self.spec),
            picture,
            matrices,
        })
    }

    async fn sensitivity(&self) -> Result<Found, LabError> {
        let weights = &self.ready.weights;
        let mut names: Vec<&str> = weights.matrices.iter().map(|matrix| matrix.group()).collect();
        names.dedup();
        let total = names.len() as u64;
        let mut groups = Vec::new();
        for (done, name) in names.into_iter().enumerate() {
            self.task.tell(Stage::Forward, done as u64, Some(total), Some(name));
            let of = |matrix: &Matrix| self.bits_of(matrix).filter(|_| matrix.group() == name);
            let bits: Vec<Option<u8>> = weights.matrices.iter().map(of).collect();
            let loss = self.loss(&bits, &QuantizeSpec { input_bits: None, ..self.spec }).await?;
            let saved_bytes = weights.full_bytes() - weights.bytes(&bits, &self.spec);
            groups.push(GroupLoss { group: name.to_owned(), loss, saved_bytes });
        }
        Ok(Found::Sensitivity { base: self.ready.base, groups })
    }

    async fn search(&self, bound: f64) -> Result<Searched, LabError> {
        let (weights, base) = (&self.ready.weights, self.ready.base);
        let saved = weights.matrices.iter();
        let saved = saved.map(|m| m.bytes(Some(MANY), &self.spec) - m.bytes(Some(FEW), &self.spec)).collect();
        let mut search = Search::new(saved, base.nll, bound);
        let mut measured_ms = 0.0;
        while let Some(bits) = search.next() {
            let (done, total) = search.progress();
            self.task.tell(Stage::Forward, u64::from(done), Some(u64::from(total)), None);
            let bits: Vec<Option<u8>> = bits.into_iter().map(Some).collect();
            let loss = self.loss(&bits, &self.spec).await?;
            measured_ms = loss.ms;
            search.tell(loss.nll);
        }
        let (bits, nll, within) = search.found().ok_or(LabError::NoModel)?;
        let chosen: Vec<Option<u8>> = bits.iter().copied().map(Some).collect();
        let paths = weights.matrices.iter().map(|matrix| matrix.path.clone());
        Ok(Searched {
            base,
            loss: Loss { nll, ms: measured_ms, ..base },
            full_bytes: weights.full_bytes(),
            bytes: weights.bytes(&chosen, &self.spec),
            bits: paths.zip(bits.iter().copied()).collect(),
            measured: search.progress().0,
            exceeded: !within,
        })
    }
}
