//! Which examples a step sees, in which order, and how they are laid out in rows. A pure function of the lengths, the seed
//! and the step's number, so that a resumed run needs no saved position.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::data::Sequence;
use hearth_shared::spec::TrainSpec;

/// Steps among which examples of like length are brought together.
const SORTED_STEPS: usize = 16;

/// Cuts a data set into steps.
#[derive(Debug)]
pub struct Batches {
    sequences: Vec<Sequence>,
    /// Sequences of one example: two where it is a preference.
    each: usize,
    batch_size: usize,
    layout: Layout,
    seed: u64,
    /// Whether an epoch's examples are shuffled; else they come as they stand.
    shuffled: bool,
    /// The epoch whose order is at hand.
    epoch: Option<(u64, Vec<Vec<u32>>)>,
}

#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Positions, padding included, of one forward pass.
    micro_batch_tokens: usize,
    /// The longest row when packing; none gives each example a row.
    packed: Option<usize>,
}

/// What one forward and backward pass is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroBatch {
    pub rows: usize,
    pub time: usize,
    /// `rows × time`, padded on the right: causal attention never looks there.
    pub inputs: Vec<i32>,
    /// Flat positions (`row · time + t`) whose prediction counts, ascending …
    pub positions: Vec<i32>,
    /// … and the token each should predict.
    pub targets: Vec<i32>,
    /// The number of each one's sequence among those of the step.
    pub owners: Vec<u32>,
    /// Document numbers, only when a row holds several.
    pub segments: Option<Vec<Vec<u32>>>,
    /// Number of the first row among the step's rows.
    pub first_row: u64,
    /// Of each row, its padding left out.
    pub lengths: Vec<usize>,
}

impl MicroBatch {
    /// Positions that are no padding.
    pub fn tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Its first rows and the others, with about as many positions each; none where there is but one.
    pub fn halves(&self) -> Option<[Self; 2]> {
        let longest = |from: usize| self.lengths[from..].iter().copied().max().unwrap_or(0);
        let apart = |at: &usize| (at * self.time).abs_diff((self.rows - at) * longest(*at));
        let at = (1..self.rows).min_by_key(apart)?;
        Some([self.part(0, at, self.time), self.part(at, self.rows, longest(at))])
    }

    /// Some of the rows, `time` positions of each.
    fn part(&self, from: usize, to: usize, time: usize) -> Self {
        let bound = |row: usize| self.positions.partition_point(|flat| (*flat as usize) < row * self.time);
        let counted = bound(from)..bound(to);
        let moved = |flat: &i32| {
            let (row, t) = (*flat as usize / self.time, *flat as usize % self.time);
            ((row - from) * time + t) as i32
        };
        let rows = self.inputs.chunks_exact(self.time).skip(from).take(to - from);
        Self {
            rows: to - from,
            time,
            inputs: rows.flat_map(|row| &row[..time]).copied().collect(),
            positions: self.positions[counted.clone()].iter().map(moved).collect(),
            targets: self.targets[counted.clone()].to_vec(),
            owners: self.owners[counted].to_vec(),
            segments: self
                .segments
                .as_ref()
                .map(|rows| rows[from..to].iter().map(|row| row[..time].to_vec()).collect()),
            first_row: self.first_row + from as u64,
            lengths: self.lengths[from..to].to_vec(),
        }
    }

    /// Which positions are no padding, `rows · time`.
    pub fn real(&self) -> Vec<bool> {
        self.lengths.iter().flat_map(|length| (0..self.time).map(move |t| t < *length)).collect()
    }
}

impl Batches {
    pub fn new(sequences: Vec<Sequence>, spec: &TrainSpec) -> Self {
        Self {
            sequences,
            each: if spec.dpo_beta.is_some() { 2 } else { 1 },
            batch_size: spec.batch_size as usize,
            layout: Layout {
                micro_batch_tokens: spec.micro_batch_tokens as usize,
                packed: spec.packing.then_some(spec.max_length as usize),
            },
            seed: spec.seed,
            shuffled: true,
            epoch: None,
        }
    }

    /// The same, with the examples in the order given, for who knows which steps they belong to.
    pub fn in_order(sequences: Vec<Sequence>, spec: &TrainSpec) -> Self {
        Self { shuffled: false, ..Self::new(sequences, spec) }
    }

    /// The examples of the first `steps` steps, in order: with [`Self::in_order`] they make the same steps again.
    pub fn first(&self, steps: usize) -> Vec<Sequence> {
        let order = self.order(0);
        let chosen = order.iter().take(steps).flatten();
        chosen.flat_map(|i| self.sequences[self.parts(*i)].iter().cloned()).collect()
    }

    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    fn examples(&self) -> u32 {
        (self.sequences.len() / self.each) as u32
    }

    /// Where an example's sequences lie.
    fn parts(&self, example: u32) -> std::ops::Range<usize> {
        let start = example as usize * self.each;
        start..start + self.each
    }

    pub fn steps_per_epoch(&self) -> u64 {
        (self.examples() as usize).div_ceil(self.batch_size) as u64
    }

    /// The passes of a step, counted from 0 over all epochs.
    pub fn step(&mut self, step: u64) -> Vec<MicroBatch> {
        let chosen = self.chosen(step);
        let chosen: Vec<&Sequence> = chosen.iter().map(|i| &self.sequences[*i as usize]).collect();
        lay_out(&chosen, self.layout)
    }

    /// The numbers of a step's sequences among all.
    pub fn chosen(&mut self, step: u64) -> Vec<u32> {
        let per_epoch = self.steps_per_epoch();
        let (epoch, within) = (step / per_epoch, step % per_epoch);
        if self.epoch.as_ref().is_none_or(|(at, _)| *at != epoch) {
            self.epoch = Some((epoch, self.order(epoch)));
        }
        let chosen = match &self.epoch {
            Some((_, order)) => order[within as usize].as_slice(),
            None => &[],
        };
        chosen.iter().flat_map(|example| self.parts(*example)).map(|i| i as u32).collect()
    }

    /// All sequences once, in file order: an evaluation.
    pub fn all(&self) -> Vec<MicroBatch> {
        let all: Vec<&Sequence> = self.sequences.iter().collect();
        lay_out(&all, self.layout)
    }

    /// The examples of every step of an epoch: shuffled, then sorted by length among neighbours, then the steps shuffled.
    fn order(&self, epoch: u64) -> Vec<Vec<u32>> {
        if !self.shuffled {
            let order: Vec<u32> = (0..self.examples()).collect();
            return order.chunks(self.batch_size).map(<[u32]>::to_vec).collect();
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&epoch.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut order: Vec<u32> = (0..self.examples()).collect();
        shuffle(&mut order, &mut rng);
        for part in order.chunks_mut(self.batch_size * SORTED_STEPS) {
            part.sort_by_key(|i| self.sequences[self.parts(*i)].iter().map(|s| s.ids.len()).sum::<usize>());
        }
        let mut steps: Vec<Vec<u32>> = order.chunks(self.batch_size).map(<[u32]>::to_vec).collect();
        shuffle(&mut steps, &mut rng);
        steps
    }
}

/// Fisher and Yates.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        items.swap(i, j as usize);
    }
}

/// Rows of like length together, as many to a pass as fit. A pass holds one row at least, however long it is.
fn lay_out(sequences: &[&Sequence], layout: Layout) -> Vec<MicroBatch> {
    let mut order: Vec<Owned<'_>> = (0..).zip(sequences.iter().copied()).collect();
    order.retain(|(_, sequence)| sequence.positions() > 0);
    order.sort_by_key(|(_, sequence)| std::cmp::Reverse(sequence.positions()));
    let rows: Vec<Vec<Owned<'_>>> = match layout.packed {
        Some(capacity) => pack(&order, capacity.min(layout.micro_batch_tokens)),
        None => order.into_iter().map(|sequence| vec![sequence]).collect(),
    };
    let mut out = Vec::new();
    let mut first_row = 0;
    let mut rest = rows.as_slice();
    while let Some(longest) = rest.first().map(|row| width(row)) {
        let fit = (layout.micro_batch_tokens / longest).clamp(1, rest.len());
        let (now, later) = rest.split_at(fit);
        out.push(micro_batch(now, first_row));
        first_row += fit as u64;
        rest = later;
    }
    out
}

/// A sequence and its number in the step.
type Owned<'a> = (u32, &'a Sequence);

fn width(row: &[Owned<'_>]) -> usize {
    row.iter().map(|(_, sequence)| sequence.positions()).sum()
}

/// First fit, longest first: `sequences` come sorted. Rows come sorted by width again.
fn pack<'a>(sequences: &[Owned<'a>], capacity: usize) -> Vec<Vec<Owned<'a>>> {
    let mut rows: Vec<Vec<Owned<'a>>> = Vec::new();
    for sequence in sequences {
        let fits = |row: &&mut Vec<Owned<'a>>| width(row) + sequence.1.positions() <= capacity;
        match rows.iter_mut().find(fits) {
            Some(row) => row.push(*sequence),
            None => rows.push(vec![*sequence]),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(width(row)));
    rows
}

fn micro_batch(rows: &[Vec<Owned<'_>>], first_row: u64) -> MicroBatch {
    let time = rows.iter().map(|row| width(row)).max().unwrap_or(0);
    let several = rows.iter().any(|row| row.len() > 1);
    let mut batch = MicroBatch {
        rows: rows.len(),
        time,
        inputs: vec![0; rows.len() * time],
        positions: Vec::new(),
        targets: Vec::new(),
        owners: Vec::new(),
        segments: several.then(|| vec![vec![0; time]; rows.len()]),
        first_row,
        lengths: rows.iter().map(|row| width(row)).collect(),
    };
    for (r, row) in rows.iter().enumerate() {
        let mut at = 0;
        for (document, (owner, sequence)) in row.iter().enumerate() {
            let length = sequence.positions();
            for t in 0..length {
                let flat = r * time + at + t;
                batch.inputs[flat] = sequence.ids[t] as i32;
                if sequence.trained[t + 1] {
                    batch.positions.push(flat as i32);
                    batch.targets.push(sequence.ids[t + 1] as i32);
                    batch.owners.push(*owner);
                }
            }
            if let Some(segments) = &mut batch.segments {
                segments[r][at..at + length].fill(document as u32);
            }
            at += length;
        }
        if let Some(segments) = &mut batch.segments {
            segments[r][at..].fill(row.len() as u32);
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sequences(lengths: &[usize]) -> Vec<Sequence> {
        let ids = |(i, length): (usize, &usize)| vec![i as u32 + 1; *length];
        lengths.iter().enumerate().map(ids).map(Sequence::plain).collect()
    }

    fn spec(batch_size: u32, micro: u32, packing: bool) -> TrainSpec {
        TrainSpec { batch_size, micro_batch_tokens: micro, packing, max_length: 40, seed: 5, ..TrainSpec::default() }
    }

    proptest! {
        #[test]
        fn an_epoch_sees_every_example_once(
            lengths in prop::collection::vec(2usize..40, 1..60),
            batch in 1u32..9,
            micro in 1u32..200,
            packing: bool,
        ) {
            let mut batches = Batches::new(sequences(&lengths), &spec(batch, micro, packing));
            let per_epoch = batches.steps_per_epoch();
            for epoch in 0..2 {
                let mut counts = vec![0; lengths.len() + 1];
                for step in 0..per_epoch {
                    let mut rows = 0;
                    for pass in batches.step(epoch * per_epoch + step) {
                        prop_assert!(pass.rows == 1 || pass.rows * pass.time <= micro as usize);
                        prop_assert_eq!(pass.first_row, rows);
                        rows += pass.rows as u64;
                        pass.targets.iter().for_each(|target| counts[*target as usize] += 1);
                        for (position, target) in pass.positions.iter().zip(&pass.targets) {
                            prop_assert_eq!(pass.inputs[*position as usize], *target);
                        }
                    }
                }
                let wanted: Vec<usize> = lengths.iter().map(|length| length - 1).collect();
                prop_assert_eq!(&counts[1..], &wanted[..]);
            }
        }
    }

    #[test]
    fn halves_hold_what_the_whole_holds() {
        let mut batches = Batches::in_order(sequences(&[30, 21, 20, 11, 3]), &spec(5, 1000, false));
        let whole = batches.step(0).remove(0);
        let [one, two] = whole.halves().expect("several rows");
        assert_eq!([(one.rows, one.time), (two.rows, two.time)], [(2, 29), (3, 19)]);
        assert_eq!((two.first_row, two.lengths.as_slice()), (2, [19, 10, 2].as_slice()));
        let seen = |pass: &MicroBatch| {
            let of = |at: &i32| pass.inputs[*at as usize];
            pass.positions.iter().map(of).zip(pass.targets.clone()).zip(pass.owners.clone()).collect::<Vec<_>>()
        };
        assert_eq!([seen(&one), seen(&two)].concat(), seen(&whole));
        assert_eq!(two.real().iter().filter(|real| **real).count(), two.tokens());
        assert!(two.part(0, 1, 19).halves().is_none());
    }

    #[test]
    fn epochs_differ_and_steps_repeat() {
        let lengths: Vec<usize> = (2..40).collect();
        let mut batches = Batches::new(sequences(&lengths), &spec(4, 100, false));
        let first = batches.step(1);
        assert_ne!(first, batches.step(1 + batches.steps_per_epoch()));
        assert_eq!(first, batches.step(1));
    }

    #[test]
    fn packing_numbers_the_documents_of_a_row() {
        let batches = Batches::new(sequences(&[5, 3, 9]), &spec(3, 40, true));
        let pass = batches.all().swap_remove(0);
        assert_eq!((pass.rows, pass.time), (1, 14));
        let wanted: Vec<u32> = [vec![0; 8], vec![1; 4], vec![2; 2]].concat();
        assert_eq!(pass.segments, Some(vec![wanted]));
    }
}
