//! Checkpoints of a run: a folder with the trained weights, what the optimizer remembers and the step number, that either stands whole under
//! its name or not at all. It is written beside its place, synced, and renamed.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use burn::module::Module;
use hearth_shared::spec::TrainSpec;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, View};

use super::TrainError;
use super::data::Sequence;
use super::optimizer::Slots;
use super::run::{Progress, Run};
use super::scaler::LossScale;
use super::watch::Watch;
use crate::projection::ParamRef;
use crate::transformer::Transformer;

const STATE: &str = "run.json";
/// The trained weights, under the names of [`Transformer::params`].
pub const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const AVERAGE: &str = "average.safetensors";
const VERSION: u32 = 1;

/// What `run.json` holds.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct SavedState {
    pub version: u32,
    pub progress: Progress,
    #[serde(default)]
    pub watch: Watch,
    #[serde(default)]
    pub loss_scale: Option<LossScale>,
    pub spec: TrainSpec,
}

/// The few things a checkpoint does to a disk, so that a test can make each of them fail.
pub trait Disk {
    /// Writes a whole file and syncs it.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn create_dir(&mut self, path: &Path) -> io::Result<()>;
    fn remove_dir(&mut self, path: &Path) -> io::Result<()>;
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes names that were created or changed in a folder last.
    fn sync_dir(&mut self, path: &Path) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use io::Write as _;
        let mut file = std::fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        // Windows can't open a folder to sync it, and needn't.
        if cfg!(unix) { std::fs::File::open(path)?.sync_all() } else { Ok(()) }
    }
}

/// Fills a new folder `dir` through `fill` so that it appears whole or not at all. What stood there before stays until the
/// new one is complete.
///
/// # Errors
/// The disk's; `dir` is then as it was, or holds the complete new content.
pub fn atomically(
    disk: &mut dyn Disk,
    dir: &Path,
    fill: &mut dyn FnMut(&mut dyn Disk, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = |prefix: &str| dir.with_file_name(format!("{prefix}{name}"));
    let (temporary, old) = (beside(".new-"), beside(".old-"));
    let parent = dir.parent().unwrap_or(Path::new("."));
    disk.create_dir(parent)?;
    disk.remove_dir(&temporary)?;
    disk.create_dir(&temporary)?;
    fill(disk, &temporary)?;
    disk.sync_dir(&temporary)?;
    if dir.exists() {
        disk.remove_dir(&old)?;
        disk.rename(dir, &old)?;
    }
    disk.rename(&temporary, dir)?;
    disk.sync_dir(parent)?;
    disk.remove_dir(&old)
}

/// Brings back what a crash between the two renames of [`atomically`] left aside.
pub fn recover(dir: &Path) {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let old = dir.with_file_name(format!(".old-{name}"));
    if !dir.exists() && old.exists() {
        // If it can't be renamed, loading it fails and says so.
        let _ = std::fs::rename(old, dir);
    }
}

/// Everything of a run that a checkpoint keeps, as its files, so that they can be written while the run goes on.
#[derive(Debug)]
pub struct Snapshot {
    step: u64,
    /// Names and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Snapshot {
    /// Optimizer steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Writes the checkpoint to `dir`.
    ///
    /// # Errors
    /// The disk's; the last checkpoint is still whole.
    pub fn write(&self, dir: &Path, disk: &mut dyn Disk) -> Result<(), TrainError> {
        atomically(disk, dir, &mut |disk, temporary| {
            self.files.iter().try_for_each(|(name, bytes)| disk.write(&temporary.join(name), bytes))
        })
        .map_err(|source| TrainError::Io { what: format!("can't write {}", dir.display()), source })
    }
}

impl Run {
    /// The run as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let state = SavedState {
            version: VERSION,
            progress: self.progress(),
            watch: self.watch().clone(),
            loss_scale: self.loss_scale,
            spec: self.spec().clone(),
        };
        let state = serde_json::to_vec_pretty(&state).expect("plain numbers and strings serialise");
        let weights = self.trained().into_iter().map(|(path, param)| {
            let shape = param.shape();
            (path, Numbers::Parameter(param, shape))
        });
        let remembered =
            if self.moments.is_empty() { Cow::Borrowed(&self.slots) } else { Cow::Owned(self.moments.read()) };
        let slots = remembered.iter().flat_map(|(path, slots)| {
            [("first", &slots.first), ("second", &slots.second)]
                .map(|(slot, values)| (format!("{path}#{slot}"), Numbers::of(values)))
        });
        let mut files = vec![(WEIGHTS.to_owned(), file(weights)), (OPTIMIZER.to_owned(), file(slots))];
        // Before the first update there is nothing to average.
        if let Some(average) = self.average.as_ref().filter(|average| !average.values.is_empty()) {
            let values = average.values.iter().map(|(path, values)| (path.clone(), Numbers::of(values)));
            files.push((AVERAGE.to_owned(), file(values)));
        }
        files.push((STATE.to_owned(), state));
        Snapshot { step: self.progress().step, files }
    }

    /// Writes a checkpoint to `dir`.
    ///
    /// # Errors
    /// As [`Snapshot::write`].
    pub fn save(&self, dir: &Path, disk: &mut dyn Disk) -> Result<(), TrainError> {
        self.snapshot().write(dir, disk)
    }

    /// Goes on from a checkpoint. `model` is the same base with the same adapters as the run began with.
    ///
    /// # Errors
    /// The folder is no checkpoint of this spec and model.
    pub fn resume(
        dir: &Path,
        spec: &TrainSpec,
        model: Transformer,
        training: Vec<Sequence>,
        validation: Option<Vec<Sequence>>,
    ) -> Result<Self, TrainError> {
        Self::new(spec, model, training, validation)?.taken_up(dir)
    }

    /// Goes on from a checkpoint of the run that was begun like this one.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn taken_up(mut self, dir: &Path) -> Result<Self, TrainError> {
        self.restore(dir)?;
        Ok(self)
    }

    /// Goes back to a checkpoint of this run and leaves out all examples since then, those of the next step included
    /// (Chowdhery 2022, section 5.1).
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub fn roll_back(&mut self, checkpoint: &Path) -> Result<(), TrainError> {
        let next = self.position() + 1;
        self.restore(checkpoint)?;
        self.progress.skipped = next - self.progress.step;
        Ok(())
    }

    /// Takes over everything that a checkpoint of this run holds.
    ///
    /// # Errors
    /// The folder is no checkpoint of this spec and model; the run is then in no state to go on.
    fn restore(&mut self, dir: &Path) -> Result<(), TrainError> {
        recover(dir);
        let state = read_state(dir)?;
        let refuse = |reason: String| TrainError::Checkpoint { path: dir.display().to_string(), reason };
        if state.spec != *self.spec() {
            return Err(refuse("it belongs to a run with other settings".to_owned()));
        }
        let mut weights = tensors(&dir.join(WEIGHTS)).map_err(&refuse)?;
        let mut slots = tensors(&dir.join(OPTIMIZER)).map_err(&refuse)?;
        let mut averages = match &self.average {
            Some(_) if state.progress.updates() > 0 => Some(tensors(&dir.join(AVERAGE)).map_err(&refuse)?),
            _ => None,
        };
        let trained: BTreeMap<String, Vec<usize>> =
            self.trained().into_iter().map(|(path, p)| (path, p.shape())).collect();
        fits(&weights, &trained).map_err(&refuse)?;
        let take = |from: &mut HashMap<String, Saved>, name: &str, count: usize| {
            from.remove(name)
                .map(|saved| saved.values)
                .filter(|values| values.len() == count)
                .ok_or_else(|| refuse(format!("{name} is missing or has another size")))
        };
        self.slots.clear();
        self.moments.clear();
        for (path, shape) in &trained {
            // Before the first update there is nothing to remember.
            if state.progress.updates() > 0 {
                let lengths = self.optimizer.slots(path, shape);
                let first = take(&mut slots, &format!("{path}#first"), lengths[0])?;
                let second = take(&mut slots, &format!("{path}#second"), lengths[1])?;
                self.slots.insert(path.clone(), Slots { first, second });
            }
            if let (Some(average), Some(saved)) = (&mut self.average, &mut averages) {
                let values = take(saved, path, shape.iter().product())?;
                average.values.insert(path.clone(), values);
            }
        }
        for (path, mut param) in self.model_mut().params_mut() {
            if let Some(shape) = trained.get(&path) {
                param.set(take(&mut weights, &path, shape.iter().product())?);
            }
        }
        if let (None, Some(average)) = (averages, &mut self.average) {
            average.values.clear();
        }
        self.progress = state.progress;
        self.watch = state.watch;
        self.loss_scale = state.loss_scale;
        Ok(())
    }
}

/// Puts a checkpoint's trained weights (the averaged ones where there are any) into a model, without its optimizer: to sample from it or to export it.
///
/// # Errors
/// The folder is no checkpoint of a model like this.
pub fn load_weights(dir: &Path, model: Transformer) -> Result<Transformer, TrainError> {
    let refuse = |reason| TrainError::Checkpoint { path: dir.display().to_string(), reason };
    let averaged = dir.join(AVERAGE);
    let file = if averaged.is_file() { averaged } else { dir.join(WEIGHTS) };
    let mut weights = tensors(&file).map_err(refuse)?;
    let mut model = model.valid();
    for (path, mut param) in model.params_mut() {
        if let Some(saved) = weights.remove(&path) {
            saved.fits(&path, &param.shape()).map_err(refuse)?;
            param.set(saved.values);
        }
    }
    match weights.keys().next() {
        Some(path) => Err(refuse(format!("the model has no {path}"))),
        None => Ok(model),
    }
}

/// # Errors
/// There is no readable checkpoint at `dir`.
pub fn read_state(dir: &Path) -> Result<SavedState, TrainError> {
    let path = dir.join(STATE);
    let refuse = |reason: String| TrainError::Checkpoint { path: path.display().to_string(), reason };
    let bytes = std::fs::read(&path).map_err(|error| refuse(error.to_string()))?;
    let state: SavedState = serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
    if state.version != VERSION {
        return Err(refuse(format!("version {} is not {VERSION}", state.version)));
    }
    Ok(state)
}

/// The checkpoint of the highest step among `folder`'s `step-N` folders.
pub fn latest(folder: &Path) -> Option<PathBuf> {
    steps(folder).pop().map(|(_, path)| path)
}

/// All whole checkpoints of a folder with their steps, oldest first.
pub fn steps(folder: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let step = path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()?;
            path.join(STATE).is_file().then_some((step, path))
        })
        .collect();
    found.sort();
    found
}

fn file<'a>(tensors: impl Iterator<Item = (String, Numbers<'a>)>) -> Vec<u8> {
    safetensors::serialize(tensors, None).expect("counts and bytes agree")
}

/// Numbers that become bytes when their turn comes, and their shape.
enum Numbers<'a> {
    Parameter(ParamRef<'a>, Vec<usize>),
    List(&'a [f32], Vec<usize>),
}

impl<'a> Numbers<'a> {
    fn of(values: &'a [f32]) -> Self {
        Self::List(values, vec![values.len()])
    }
}

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Parameter(_, shape) | Self::List(_, shape) => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Cow::Owned(match self {
            Self::Parameter(param, _) => bytes(&param.to_vec()),
            Self::List(values, _) => bytes(values),
        })
    }

    fn data_len(&self) -> usize {
        4 * self.shape().iter().product::<usize>()
    }
}

/// A tensor of a checkpoint.
struct Saved {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Saved {
    /// Whether it is a parameter of that shape.
    fn fits(&self, path: &str, wanted: &[usize]) -> Result<(), String> {
        let count: usize = wanted.iter().product();
        // Earlier versions wrote every parameter as a list.
        if self.shape == wanted || self.shape == [count] {
            return Ok(());
        }
        Err(format!("{path} has the shape {:?} in it and {wanted:?} in the model: they are not of one run", self.shape))
    }
}

/// Whether a file's weights are the trained parameters, name by name.
fn fits(weights: &HashMap<String, Saved>, trained: &BTreeMap<String, Vec<usize>>) -> Result<(), String> {
    for (path, shape) in trained {
        let saved = weights.get(path).ok_or_else(|| format!("it has no {path}, which the model has in {shape:?}"))?;
        saved.fits(path, shape)?;
    }
    match weights.keys().filter(|path| !trained.contains_key(*path)).min() {
        Some(path) => Err(format!("the model trains no {path}")),
        None => Ok(()),
    }
}

fn tensors(path: &Path) -> Result<HashMap<String, Saved>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let saved = |view: TensorView<'_>| {
        let numbers = view.data().chunks_exact(4);
        let values = numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Saved { shape: view.shape().to_vec(), values }
    };
    Ok(file.tensors().into_iter().map(|(name, view)| (name, saved(view))).collect())
}
