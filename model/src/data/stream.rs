//! Rows for pretraining out of shards. Every epoch has its own order of documents; they stand one behind the other and are cut
//! into rows of equal length, and the rows are shuffled again. Which row a step sees follows from the seed and the step's number,
//! so a resumed run needs no saved position. Documents in one row don't see each other, and no position predicts the first token
//! of another document.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::shards::Shards;
use crate::train::batches::{MicroBatch, shuffle};

/// What a data set's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSpec {
    /// `T`, positions of a row.
    pub length: usize,
    /// Rows of a step.
    pub batch_size: usize,
    /// Positions of one forward and backward pass.
    pub micro_batch_tokens: usize,
    pub seed: u64,
}

/// Why there are no rows.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    #[error("{field} must be 1 at least")]
    Zero { field: &'static str },
    #[error("the data has {tokens} tokens: one row of {length} needs {}; shorten the rows or add texts", length + 1)]
    TooFew { tokens: u64, length: usize },
}

/// A data set as an endless sequence of steps.
#[derive(Clone, Debug)]
pub struct Rows {
    shards: Arc<Shards>,
    spec: RowSpec,
    per_epoch: u64,
    epoch: Option<Arc<Epoch>>,
}

/// One pass over the data.
#[derive(Debug)]
struct Epoch {
    number: u64,
    /// Documents in their order.
    order: Vec<u64>,
    /// Tokens up to the end of each.
    ends: Vec<u64>,
    /// Rows in their order.
    rows: Vec<u64>,
}

impl Rows {
    /// # Errors
    /// A size of 0, or less data than one row.
    pub fn new(shards: Arc<Shards>, spec: RowSpec) -> Result<Self, RowError> {
        let sizes =
            [("length", spec.length), ("batch_size", spec.batch_size), ("micro_batch_tokens", spec.micro_batch_tokens)];
        if let Some((field, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(RowError::Zero { field });
        }
        let tokens = shards.index().tokens;
        // The last token of a row is only predicted; it is the first of the next.
        let per_epoch = tokens.saturating_sub(1) / spec.length as u64;
        if per_epoch == 0 {
            return Err(RowError::TooFew { tokens, length: spec.length });
        }
        Ok(Self { shards, spec, per_epoch, epoch: None })
    }

    /// Steps of one pass over the data; the last may reach into the next pass.
    pub fn steps_per_epoch(&self) -> u64 {
        self.per_epoch.div_ceil(self.spec.batch_size as u64)
    }

    /// The passes of a step, counted from 0.
    pub fn step(&mut self, step: u64) -> Vec<MicroBatch> {
        let RowSpec { length, batch_size, micro_batch_tokens, .. } = self.spec;
        let rows_of_a_pass = (micro_batch_tokens / length).clamp(1, batch_size);
        let first = step * batch_size as u64;
        let mut passes = Vec::new();
        for from in (0..batch_size).step_by(rows_of_a_pass) {
            let count = rows_of_a_pass.min(batch_size - from);
            let rows = (0..count).map(|i| self.row(first + (from + i) as u64)).collect();
            passes.push(pass(rows, length, from as u64));
        }
        passes
    }

    fn row(&mut self, number: u64) -> Row {
        let (wanted, within) = (number / self.per_epoch, (number % self.per_epoch) as usize);
        let epoch = match &self.epoch {
            Some(epoch) if epoch.number == wanted => Arc::clone(epoch),
            _ => {
                let epoch = Arc::new(Epoch::new(&self.shards, wanted, self.per_epoch, self.spec.seed));
                self.epoch = Some(Arc::clone(&epoch));
                epoch
            }
        };
        epoch.row(&self.shards, epoch.rows[within], self.spec.length)
    }
}

/// `T + 1` tokens and the documents they are of.
struct Row {
    ids: Vec<u32>,
    /// Number of each token's document within the row.
    documents: Vec<u32>,
}

impl Epoch {
    fn new(shards: &Shards, number: u64, rows: u64, seed: u64) -> Self {
        // Named by seed and epoch: no state goes from one epoch to the next.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let mut order: Vec<u64> = (0..shards.documents()).collect();
        shuffle(&mut order, &mut rng);
        let mut at = 0;
        let ends = order.iter().map(|document| {
            at += shards.length(*document);
            at
        });
        let ends = ends.collect();
        let mut rows: Vec<u64> = (0..rows).collect();
        shuffle(&mut rows, &mut rng);
        Self { number, order, ends, rows }
    }

    fn row(&self, shards: &Shards, row: u64, length: usize) -> Row {
        let start = row * length as u64;
        let mut at = self.ends.partition_point(|end| *end <= start);
        let mut skip = start - if at == 0 { 0 } else { self.ends[at - 1] };
        let (mut ids, mut documents) = (Vec::with_capacity(length + 1), Vec::with_capacity(length + 1));
        let mut document = 0;
        while ids.len() <= length {
            shards.read(self.order[at], skip, length + 1 - ids.len(), &mut ids);
            documents.resize(ids.len(), document);
            (at, skip, document) = (at + 1, 0, document + 1);
        }
        Row { ids, documents }
    }
}

fn pass(rows: Vec<Row>, length: usize, first_row: u64) -> MicroBatch {
    let several = rows.iter().any(|row| row.documents[length - 1] > 0);
    let mut batch = MicroBatch {
        rows: rows.len(),
        time: length,
        inputs: Vec::with_capacity(rows.len() * length),
        positions: Vec::new(),
        targets: Vec::new(),
        owners: Vec::new(),
        segments: several.then(Vec::new),
        first_row,
        lengths: vec![length; rows.len()],
    };
    for (r, row) in rows.into_iter().enumerate() {
        for t in 0..length {
            batch.inputs.push(row.ids[t] as i32);
            if row.documents[t] == row.documents[t + 1] {
                batch.positions.push((r * length + t) as i32);
                batch.targets.push(row.ids[t + 1] as i32);
                batch.owners.push(r as u32);
            }
        }
        if let Some(segments) = &mut batch.segments {
            segments.push(row.documents[..length].to_vec());
        }
    }
    batch
}

/// Makes steps on a thread of its own, a few before they are needed.
#[derive(Debug)]
pub struct ReadAhead {
    steps: Option<Receiver<Vec<MicroBatch>>>,
    thread: Option<JoinHandle<()>>,
}

/// Steps that wait.
const AHEAD: usize = 2;

impl ReadAhead {
    /// From step `first` on.
    pub fn new(mut rows: Rows, first: u64) -> Self {
        let (sender, receiver): (SyncSender<Vec<MicroBatch>>, _) = sync_channel(AHEAD);
        let thread = std::thread::spawn(move || {
            let mut steps = first..;
            // Ends when nobody takes them any more.
            while let Some(step) = steps.next()
                && sender.send(rows.step(step)).is_ok()
            {}
        });
        Self { steps: Some(receiver), thread: Some(thread) }
    }

    /// The next step's passes. None when the thread is gone, which it is only if it panicked.
    pub fn next_step(&mut self) -> Option<Vec<MicroBatch>> {
        self.steps.as_ref()?.recv().ok()
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        // Closed first: the thread may be waiting to hand over a step.
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
pub(crate) mod tests {
    use super::super::shards::{INDEX, Index, ShardWriter, write_whole};
    use super::*;
    use std::collections::BTreeMap;

    /// Documents of 1 to 9 tokens, each token its own number, in two shards.
    fn data(documents: u64) -> (tempfile::TempDir, Arc<Shards>) {
        counted(documents, u32::MAX)
    }

    /// The same with tokens that begin again at `vocab`.
    pub(crate) fn counted(documents: u64, vocab: u32) -> (tempfile::TempDir, Arc<Shards>) {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Index::new("t".into(), 100_000, 0);
        let mut next = 1;
        for (number, range) in [(0, 0..documents / 2), (1, documents / 2..documents)] {
            let mut writer = ShardWriter::new(dir.path(), number, index.id_type).unwrap();
            for document in range {
                let length = 1 + document % 9;
                writer.push(&(next..next + length as u32).map(|id| id % vocab).collect::<Vec<_>>()).unwrap();
                writer.end_document();
                next += length as u32;
            }
            let shard = writer.finish().unwrap();
            index.tokens += shard.tokens;
            index.documents += shard.documents;
            index.shards.push(shard);
        }
        write_whole(&dir.path().join(INDEX), &serde_json::to_vec(&index).unwrap()).unwrap();
        let shards = Shards::open(dir.path()).unwrap();
        (dir, Arc::new(shards))
    }

    const SPEC: RowSpec = RowSpec { length: 16, batch_size: 5, micro_batch_tokens: 40, seed: 3 };

    #[test]
    fn an_epoch_sees_every_token_once_but_the_rest() {
        let (_dir, shards) = data(200);
        let spec = RowSpec { batch_size: 1, ..SPEC };
        let mut rows = Rows::new(Arc::clone(&shards), spec).unwrap();
        let mut seen: BTreeMap<i32, usize> = BTreeMap::new();
        let steps = rows.steps_per_epoch();
        for step in 0..steps {
            for pass in rows.step(step) {
                pass.inputs.iter().for_each(|id| *seen.entry(*id).or_default() += 1);
            }
        }
        assert!(seen.values().all(|count| *count == 1));
        assert!(shards.index().tokens - seen.len() as u64 <= 16);
        assert_ne!(rows.step(0), rows.step(steps), "another epoch has another order");
    }

    #[test]
    fn a_target_is_the_next_token_of_the_same_document() {
        let (_dir, shards) = data(200);
        let mut rows = Rows::new(Arc::clone(&shards), SPEC).unwrap();
        let pass = rows.step(4).remove(0);
        let segments = pass.segments.clone().unwrap();
        assert_eq!((pass.rows, pass.time), (2, 16));
        for (position, target) in pass.positions.iter().zip(&pass.targets) {
            // Tokens of a document count up.
            assert_eq!(*target, pass.inputs[*position as usize] + 1);
        }
        for (row, segments) in segments.iter().enumerate() {
            for t in 1..16 {
                let same = pass.inputs[row * 16 + t] == pass.inputs[row * 16 + t - 1] + 1;
                let counted = pass.positions.contains(&((row * 16 + t - 1) as i32));
                assert_eq!(segments[t] == segments[t - 1], counted);
                assert!(same || !counted);
            }
        }
    }

    #[test]
    fn steps_depend_on_seed_and_number_only() {
        let (_dir, shards) = data(300);
        let mut rows = Rows::new(Arc::clone(&shards), SPEC).unwrap();
        let all: Vec<_> = (0..60).map(|step| rows.step(step)).collect();
        // Past the first epoch, in any order, from anywhere.
        assert!(rows.steps_per_epoch() < 60);
        let mut other = Rows::new(Arc::clone(&shards), SPEC).unwrap();
        for step in [59, 0, 31, 30] {
            assert_eq!(other.step(step), all[step as usize]);
        }
        let mut ahead = ReadAhead::new(Rows::new(Arc::clone(&shards), SPEC).unwrap(), 17);
        for step in &all[17..40] {
            assert_eq!(ahead.next_step().as_ref(), Some(step));
        }
        drop(ahead);
        let mut another = Rows::new(shards, RowSpec { seed: 4, ..SPEC }).unwrap();
        assert_ne!(another.step(0), all[0]);
        // Splitting a step into other passes moves no row.
        let wide = Rows::new(Arc::clone(&other.shards), RowSpec { micro_batch_tokens: 1000, ..SPEC });
        let wide = wide.unwrap().step(7);
        assert_eq!(wide.len(), 1);
        let narrow: Vec<i32> = all[7].iter().flat_map(|pass| pass.inputs.clone()).collect();
        assert_eq!(wide[0].inputs, narrow);
        assert_eq!(all[7].iter().map(|pass| pass.first_row).collect::<Vec<_>>(), [0, 2, 4]);
    }

    #[test]
    fn too_little_data_is_an_error() {
        let (_dir, shards) = data(4);
        let error = Rows::new(Arc::clone(&shards), SPEC).unwrap_err();
        assert_eq!(error, RowError::TooFew { tokens: 10, length: 16 });
        let zero = Rows::new(shards, RowSpec { batch_size: 0, ..SPEC }).unwrap_err();
        assert_eq!(zero, RowError::Zero { field: "batch_size" });
    }
}
