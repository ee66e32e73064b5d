//! The position lab: what a model loses at which position, how its pairs turn, how far back its heads look. Its models are small
//! and stay loaded, on the CPU; a stretched rotation is a clone of the model that shares its weights.

use std::rc::Rc;

use hearth_model::{
    bundle::ModelBundle,
    config::{Position, RopeScaling},
    device,
    look::{
        distance::by_distance,
        look,
        losses::{losses, windows},
    },
    rope,
    transformer::Transformer,
};
use hearth_shared::lab::{
    LabError, LabModel, Reply, Stage,
    position::{
        Ask, Distances, Found, LengthLoss, Losses, Method, STRETCHES, Scaling, Task as Wanted, Turns, stretches,
    },
};

use crate::{
    desk::{Done, Task},
    engine::{self, Files, Lab, lost},
    fetch, port,
};

/// # Errors
/// Whatever ends the call.
pub async fn answer(task: &Rc<Task>, lab: &Lab, ask: Ask) -> Result<Done, LabError> {
    let bundle = sibling(task, lab, &ask.model).await?;
    let model = stretched(&bundle, ask.scaling, ask.trained as usize)?;
    let subject = Subject { name: ask.model.id, scaling: ask.scaling, bundle: &bundle, model };
    let found = match ask.task {
        Wanted::Losses { texts, windows, lengths } => {
            Found::Losses(subject.losses(task, &texts, windows as usize, &lengths).await?)
        }
        Wanted::Turns => Found::Turns(subject.turns()?),
        Wanted::Distances { texts, length } => {
            Found::Distances(subject.distances(task, &texts, length as usize).await?)
        }
    };
    task.check()?;
    Ok(Done { reply: Reply::Position(Box::new(found)), buffers: Vec::new() })
}

/// The model on the CPU, loaded by the first call that asks for it.
///
/// # Errors
/// The call was stopped, or the model cannot be had.
pub async fn sibling(task: &Rc<Task>, lab: &Lab, model: &LabModel) -> Result<Rc<ModelBundle>, LabError> {
    let kept = lab.siblings.borrow().get(&model.hash).cloned();
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let files = Files(fetch::model(task, model, fetch::is_needed).await?);
    let bundle = Rc::new(engine::load(task, &files, &device::cpu()).await?);
    lab.siblings.borrow_mut().insert(model.hash.clone(), bundle.clone());
    Ok(bundle)
}

fn stretched(bundle: &ModelBundle, scaling: Scaling, trained: usize) -> Result<Transformer, LabError> {
    let mut model = bundle.transformer.clone();
    if scaling.method != Method::None {
        let factor = scaling.factor;
        model.set_rope_scaling(match scaling.method {
            Method::None => RopeScaling::None,
            Method::Linear => RopeScaling::Linear { factor },
            Method::Ntk => RopeScaling::Ntk { factor },
            Method::Yarn => RopeScaling::yarn(factor, trained),
        });
        model.config().validate().map_err(|error| other(error.to_string()))?;
    }
    Ok(model)
}

fn other(message: impl Into<String>) -> LabError {
    LabError::Other { message: message.into() }
}

/// What a call is about.
struct Subject<'a> {
    name: String,
    scaling: Scaling,
    bundle: &'a ModelBundle,
    /// The bundle's transformer under the scaling.
    model: Transformer,
}

impl Subject<'_> {
    async fn losses(
        self,
        task: &Rc<Task>,
        texts: &[String],
        count: usize,
        lengths: &[u32],
    ) -> Result<Losses, LabError> {
        let start = port::now();
        let mut lengths: Vec<usize> = lengths.iter().map(|length| *length as usize).collect();
        lengths.sort_unstable();
        let longest = lengths.last().copied().unwrap_or_default();
        let fits = |length: &usize| *length > 0 && longest.is_multiple_of(*length);
        if longest == 0 || !longest.is_multiple_of(STRETCHES) || !lengths.iter().all(fits) {
            return Err(other(format!("{lengths:?}: each divides the longest, and {STRETCHES} does")));
        }
        let windows = windows(&self.bundle.tokenizer, texts, count, longest);
        if windows.is_empty() {
            return Err(other(format!("no text has {longest} tokens")));
        }
        let mut sums = vec![vec![0.0_f64; longest]; lengths.len()];
        let total = windows.len() as u64;
        for (done, window) in (0..).zip(&windows) {
            for (length, sums) in lengths.iter().zip(&mut sums) {
                for at in (0..longest).step_by(*length) {
                    task.tell(Stage::Forward, done, Some(total), Some(&self.name));
                    task.breathe().await?;
                    let piece = losses(&self.model, &window[at..=at + length]).await.map_err(lost)?;
                    for (sum, loss) in sums[at..].iter_mut().zip(piece) {
                        *sum += f64::from(loss);
                    }
                }
            }
        }
        let of_length = |(length, sums): (usize, Vec<f64>)| LengthLoss {
            length: length as u32,
            stretches: stretches(&sums, windows.len()),
        };
        Ok(Losses {
            model: self.name,
            scaling: self.scaling,
            windows: windows.len() as u32,
            lengths: lengths.into_iter().zip(sums).map(of_length).collect(),
            ms: port::now() - start,
        })
    }

    fn turns(self) -> Result<Turns, LabError> {
        let trained = &self.bundle.config;
        let (Position::Rope(plain), Position::Rope(rope)) = (trained.position, self.model.config().position) else {
            return Err(other(format!("{} doesn't rotate", self.name)));
        };
        let dims = plain.dims.unwrap_or(trained.head_dim);
        let of = |rope| rope::frequencies(rope, dims, trained.max_positions, trained.max_positions);
        let (frequencies, attention_factor) = of(&rope);
        Ok(Turns { scaling: self.scaling, frequencies, plain: of(&plain).0, attention_factor })
    }

    async fn distances(self, task: &Rc<Task>, texts: &[String], length: usize) -> Result<Distances, LabError> {
        let window = windows(&self.bundle.tokenizer, texts, 1, length).pop();
        let window = window.ok_or_else(|| other(format!("no text has {length} tokens")))?;
        task.tell(Stage::Forward, 0, None, Some(&self.name));
        task.breathe().await?;
        let seen = look(&self.model, &window[..length]).await.map_err(lost)?;
        let config = self.model.config();
        Ok(Distances {
            model: self.name,
            layers: config.n_layers as u32,
            heads: config.n_heads as u32,
            time: length as u32,
            means: by_distance(&seen.weights, length),
        })
    }
}
