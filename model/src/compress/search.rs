//! Which matrices can do with 4 bits: a search that asks for models to be measured and keeps the loss within a bound. Pure; whoever
//! drives it measures.

/// Bits of a matrix that can do with few, and of the others.
pub const FEW: u8 = 4;
pub const MANY: u8 = 8;

/// First all in 8 bits and all in 4, then each matrix alone in 4, then as many of the harmless ones as the bound allows, by halving.
#[derive(Clone, Debug)]
pub struct Search {
    /// Nats a token that the loss may reach.
    bound: f64,
    /// Bytes that 4 bits save, by matrix.
    saved: Vec<u64>,
    phase: Phase,
    /// Loss of the model in which this matrix alone has 4 bits.
    alone: Vec<f64>,
    /// Matrices by loss for what they save.
    order: Vec<usize>,
    best: Option<(Vec<u8>, f64)>,
    measured: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Many,
    Few,
    Alone(usize),
    /// The first `holds` of the order are within the bound, the first `breaks` are not.
    Halving {
        holds: usize,
        breaks: usize,
    },
    Done,
}

impl Search {
    /// `base` is the loss of the model as it is; the perplexity may rise by the share `rise`.
    pub fn new(saved: Vec<u64>, base: f64, rise: f64) -> Self {
        let bound = base + rise.ln_1p();
        Self { bound, saved, phase: Phase::Many, alone: Vec::new(), order: Vec::new(), best: None, measured: 0 }
    }

    /// Bits of the model to measure next.
    pub fn next(&self) -> Option<Vec<u8>> {
        let count = self.saved.len();
        match self.phase {
            Phase::Many => Some(vec![MANY; count]),
            Phase::Few => Some(vec![FEW; count]),
            Phase::Alone(matrix) => Some(self.few(&[matrix])),
            Phase::Halving { holds, breaks } => Some(self.few(&self.order[..usize::midpoint(holds, breaks)])),
            Phase::Done => None,
        }
    }

    fn few(&self, matrices: &[usize]) -> Vec<u8> {
        let mut bits = vec![MANY; self.saved.len()];
        for &matrix in matrices {
            bits[matrix] = FEW;
        }
        bits
    }

    /// The loss of what [`Self::next`] asked for.
    pub fn tell(&mut self, loss: f64) {
        let Some(bits) = self.next() else { return };
        self.measured += 1;
        let holds_bound = loss <= self.bound;
        let size = |bits: &[u8]| bits.iter().zip(&self.saved).filter(|(b, _)| **b == FEW).map(|(_, s)| s).sum::<u64>();
        let smaller = self.best.as_ref().is_none_or(|(best, _)| size(&bits) > size(best));
        // Without any that holds, all in 8 bits stand as the nearest.
        if self.best.is_none() || holds_bound && smaller {
            self.best = Some((bits, loss));
        }
        self.phase = match self.phase {
            Phase::Many if holds_bound => Phase::Few,
            Phase::Few if !holds_bound && !self.saved.is_empty() => Phase::Alone(0),
            Phase::Alone(matrix) => {
                self.alone.push(loss);
                if matrix + 1 < self.saved.len() { Phase::Alone(matrix + 1) } else { self.ordered() }
            }
            Phase::Halving { holds, breaks } => {
                let middle = usize::midpoint(holds, breaks);
                if holds_bound { halving(middle, breaks) } else { halving(holds, middle) }
            }
            Phase::Many | Phase::Few | Phase::Done => Phase::Done,
        };
    }

    fn ordered(&mut self) -> Phase {
        let least = self.alone.iter().copied().fold(f64::INFINITY, f64::min);
        let price = |matrix: usize| (self.alone[matrix] - least) / self.saved[matrix].max(1) as f64;
        let mut order: Vec<usize> = (0..self.saved.len()).collect();
        order.sort_by(|&a, &b| price(a).total_cmp(&price(b)));
        self.order = order;
        halving(0, self.saved.len())
    }

    /// Models that would be measured at most, and those that were.
    pub fn progress(&self) -> (u32, u32) {
        let count = self.saved.len() as u32;
        (self.measured, 2 + count + count.max(1).ilog2() + 1)
    }

    /// The smallest model found within the bound, its loss, and whether it is within; all in 8 bits where none is.
    pub fn found(&self) -> Option<(&[u8], f64, bool)> {
        self.best.as_ref().map(|(bits, loss)| (bits.as_slice(), *loss, *loss <= self.bound))
    }
}

fn halving(holds: usize, breaks: usize) -> Phase {
    if breaks - holds <= 1 { Phase::Done } else { Phase::Halving { holds, breaks } }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Losses add up: matrix `i` in 4 bits costs `costs[i]`.
    fn run(costs: &[f64], saved: &[u64], rise: f64) -> (Vec<u8>, f64, bool, u32) {
        let mut search = Search::new(saved.to_vec(), 1.0, rise);
        while let Some(bits) = search.next() {
            let cost: f64 = bits.iter().zip(costs).filter(|(bits, _)| **bits == FEW).map(|(_, cost)| cost).sum();
            search.tell(1.0 + cost);
            assert!(search.progress().0 <= search.progress().1);
        }
        let (bits, loss, within) = search.found().unwrap();
        (bits.to_vec(), loss, within, search.progress().0)
    }

    #[test]
    fn the_harmless_ones_become_small() {
        let (bits, loss, within, _) = run(&[0.5, 0.001, 0.002, 0.4, 0.003], &[10; 5], 0.01);
        assert_eq!(bits, [MANY, FEW, FEW, MANY, FEW]);
        assert!(within && loss <= 1.01);
    }

    #[test]
    fn bytes_count_as_well_as_losses() {
        let (bits, ..) = run(&[0.006, 0.005], &[1000, 10], 0.0071);
        assert_eq!(bits, [FEW, MANY]);
    }

    #[test]
    fn the_ends_need_no_search() {
        assert_eq!(run(&[0.0; 3], &[1; 3], 0.01), (vec![FEW; 3], 1.0, true, 2));
        let mut search = Search::new(vec![1; 3], 1.0, 0.01);
        search.tell(2.0);
        assert_eq!(search.next(), None);
        assert_eq!(search.found().unwrap(), ([MANY; 3].as_slice(), 2.0, false));
    }
}
