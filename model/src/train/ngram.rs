//! Interpolated modified Kneser-Ney (Chen & Goodman 1999), the classical language model that a neural one has to beat. Exact:
//! nothing is pruned, probabilities over the vocabulary sum to 1.

use std::collections::HashMap;

/// Tokens a context can have, its own word included.
const MAX_ORDER: usize = 5;

/// Tokens of an n-gram, packed from the left; the rest is unused.
type Gram = [u32; MAX_ORDER];

/// An n-gram model over token ids.
#[derive(Debug)]
pub struct KneserNey {
    order: usize,
    vocab: usize,
    /// By length - 1.
    levels: Vec<Level>,
}

/// n-grams of one length.
#[derive(Debug, Default)]
struct Level {
    /// Counts; at lower orders the number of different tokens in front (continuation counts).
    counts: HashMap<Gram, u32>,
    /// Of every context (the n-gram without its last token): what interpolation needs.
    contexts: HashMap<Gram, Follow>,
    /// For counts of 1, 2, and 3 or more.
    discounts: [f64; 3],
}

#[derive(Clone, Copy, Debug, Default)]
struct Follow {
    total: u64,
    /// Followers with a count of 1, 2, and 3 or more.
    kinds: [u32; 3],
}

impl KneserNey {
    /// Counts `stream` (documents with their separators).
    ///
    /// # Panics
    /// `order` is not 1..=5.
    pub fn train(stream: &[u32], order: usize, vocab: usize) -> Self {
        assert!((1..=MAX_ORDER).contains(&order), "orders 1 to {MAX_ORDER}");
        let mut raw: Vec<HashMap<Gram, u32>> = vec![HashMap::new(); order];
        for end in 1..=stream.len() {
            // Shorter n-grams at the start of the stream count once, so that none is lost.
            let longest = order.min(end);
            *raw[longest - 1].entry(gram(&stream[end - longest..end])).or_default() += 1;
        }
        // Continuation counts: each different longer n-gram counts once for its tail.
        for length in (1..order).rev() {
            let tails: Vec<Gram> = raw[length].keys().map(|longer| gram(&longer[1..=length])).collect();
            for tail in tails {
                *raw[length - 1].entry(tail).or_default() += 1;
            }
        }
        let levels = raw.into_iter().enumerate().map(|(i, counts)| Level::new(counts, i + 1)).collect();
        Self { order, vocab, levels }
    }

    /// `p(token | context)`; the last `order - 1` tokens of the context are used.
    pub fn probability(&self, context: &[u32], token: u32) -> f64 {
        let longest = (self.order - 1).min(context.len());
        let mut p = 1.0 / self.vocab as f64;
        for length in 0..=longest {
            let history = &context[context.len() - length..];
            let level = &self.levels[length];
            let Some(follow) = level.contexts.get(&gram(history)) else {
                // A context that never was has no longer one either.
                break;
            };
            let mut words = gram(history);
            words[length] = token;
            let count = level.counts.get(&words).copied().unwrap_or(0);
            let kept = f64::from(count) - if count == 0 { 0.0 } else { level.discounts[kind(count)] };
            let freed: f64 = follow.kinds.iter().zip(&level.discounts).map(|(n, d)| f64::from(*n) * d).sum();
            p = (kept.max(0.0) + freed * p) / follow.total as f64;
        }
        p
    }

    /// Bits to predict `tokens[1..]` from what stands before each.
    pub fn bits(&self, tokens: &[u32]) -> f64 {
        (1..tokens.len()).map(|i| -self.probability(&tokens[..i], tokens[i]).log2()).sum()
    }
}

impl Level {
    fn new(counts: HashMap<Gram, u32>, length: usize) -> Self {
        let mut contexts: HashMap<Gram, Follow> = HashMap::new();
        let mut having = [0u64; 5];
        for (words, count) in &counts {
            let follow = contexts.entry(gram(&words[..length - 1])).or_default();
            follow.total += u64::from(*count);
            follow.kinds[kind(*count)] += 1;
            if *count <= 4 {
                having[*count as usize] += 1;
            }
        }
        Self { counts, contexts, discounts: discounts(having) }
    }
}

/// Chen & Goodman's estimates from the numbers of n-grams that were seen once, twice, …
fn discounts(having: [u64; 5]) -> [f64; 3] {
    let n = having.map(|n| n as f64);
    if having[1] == 0 || having[2] == 0 || having[3] == 0 {
        // Too little text for the estimate: absolute discounting with a usual value.
        return [0.75; 3];
    }
    let y = n[1] / (n[1] + 2.0 * n[2]);
    [
        1.0 - 2.0 * y * n[2] / n[1],
        2.0 - 3.0 * y * n[3] / n[2],
        if having[4] == 0 { 2.0 } else { 3.0 - 4.0 * y * n[4] / n[3] },
    ]
    .map(|d| d.max(0.0))
}

fn kind(count: u32) -> usize {
    count.clamp(1, 3) as usize - 1
}

/// Unused places hold a number that is no token.
fn gram(tokens: &[u32]) -> Gram {
    let mut out = [u32::MAX; MAX_ORDER];
    out[..tokens.len()].copy_from_slice(tokens);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(n: usize, vocab: u64) -> Vec<u32> {
        let mut x = 42u64;
        let mut draw = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) % vocab
        };
        // Zipf-like: the smaller of two draws.
        (0..n).map(|_| draw().min(draw()) as u32).collect()
    }

    #[test]
    fn probabilities_sum_to_one_in_every_context() {
        let text = stream(3000, 20);
        let model = KneserNey::train(&text, 5, 20);
        for context in [&[][..], &text[5..6], &text[100..104], &[19, 19, 19, 19], &text[2990..]] {
            let sum: f64 = (0..20).map(|token| model.probability(context, token)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{context:?}: {sum}");
        }
    }

    #[test]
    fn longer_contexts_help_where_text_repeats() {
        let part = stream(50, 20);
        let text: Vec<u32> = part.iter().copied().cycle().take(2000).collect();
        let bits = |order| KneserNey::train(&text, order, 20).bits(&text[..100]) / 99.0;
        assert!(bits(5) < 0.5 && bits(5) < bits(2) && bits(2) < bits(1));
    }

    /// Two bigrams by hand: absolute discounting, because the text is too small for the estimate.
    #[test]
    fn equals_the_formula() {
        let model = KneserNey::train(&[0, 1, 0, 1, 0, 2], 2, 3);
        // Unigram continuation counts: 0 has {1} in front and began the text, 1 has {0}, 2 has {0}: 2, 1, 1.
        let unigram = |count: f64| (count - 0.75) / 4.0 + 0.75 * 3.0 / 4.0 / 3.0;
        assert!((model.probability(&[], 1) - unigram(1.0)).abs() < 1e-12);
        // After 0: 1 twice, 2 once.
        let want = (2.0 - 0.75) / 3.0 + 0.75 * 2.0 / 3.0 * unigram(1.0);
        assert!((model.probability(&[0], 1) - want).abs() < 1e-12);
    }
}
