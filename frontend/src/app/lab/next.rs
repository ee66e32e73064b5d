//! The next-token distribution: logits → temperature → top-k → top-p, in the order of the server's sampler.
//!
//! The page runs it on every move of a slider; the forward pass that made the logits is not repeated.

/// What the sliders say. Temperature 0 is greedy; `top_k` 0 keeps all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sliders {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
}

impl Default for Sliders {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0 }
    }
}

/// Token ids by falling logit, equal logits by id.
#[derive(Clone, Debug, Default)]
pub struct Ranking {
    pub order: Vec<u32>,
}

impl Ranking {
    #[must_use]
    pub fn new(logits: &[f32]) -> Self {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        Self { order }
    }

    /// Place of a token, 0 for the most likely.
    #[must_use]
    pub fn place(&self, token: u32) -> Option<usize> {
        self.order.iter().position(|&id| id == token)
    }
}

/// One bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub token: u32,
    /// Place among all tokens, 0 for the most likely.
    pub place: usize,
    pub logit: f32,
    /// After the temperature, before anything is cut.
    pub before: f32,
    /// What the token is drawn with; 0 when it is cut.
    pub after: f32,
}

/// The distribution under the sliders.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Next {
    pub shown: Vec<Candidate>,
    /// How many tokens can be drawn.
    pub kept: usize,
    /// Probability, before the cut, of all that is kept.
    pub kept_mass: f32,
    /// Entropy of what is drawn from, in bits.
    pub entropy: f32,
}

/// The first `count` candidates, and `also` if it is not among them.
#[must_use]
pub fn next(logits: &[f32], ranking: &Ranking, sliders: Sliders, count: usize, also: Option<u32>) -> Next {
    let order = &ranking.order;
    let Some(&first) = order.first() else {
        return Next::default();
    };
    let before = tempered(logits, order, sliders.temperature);
    let limit = match sliders.top_k as usize {
        // Greedy: nothing else can be drawn.
        _ if sliders.temperature <= 0.0 => 1,
        0 => order.len(),
        k => k.min(order.len()),
    };
    let within: f64 = before[..limit].iter().sum();
    let kept = nucleus(&before[..limit], within, f64::from(sliders.top_p));
    let mass: f64 = before[..kept].iter().sum();
    let entropy: f64 = before[..kept].iter().map(|&p| p / mass).filter(|&p| p > 0.0).map(|p| -p * p.log2()).sum();
    // The sum of one certain token is −0.
    let entropy = entropy + 0.0;
    let candidate = |place: usize| Candidate {
        token: order[place],
        place,
        logit: logits[order[place] as usize],
        before: before[place] as f32,
        after: if place < kept { (before[place] / mass) as f32 } else { 0.0 },
    };
    let mut shown: Vec<Candidate> = (0..count.min(order.len())).map(candidate).collect();
    if let Some(token) = also.filter(|&token| token != first)
        && let Some(place) = ranking.place(token)
        && place >= count
    {
        shown.push(candidate(place));
    }
    Next { shown, kept, kept_mass: mass as f32, entropy: entropy as f32 }
}

/// Probabilities in the order of `order`.
fn tempered(logits: &[f32], order: &[u32], temperature: f32) -> Vec<f64> {
    let max = f64::from(logits[order[0] as usize]);
    if temperature <= 0.0 {
        let mut greedy = vec![0.0; order.len()];
        greedy[0] = 1.0;
        return greedy;
    }
    let temperature = f64::from(temperature);
    let mut all: Vec<f64> =
        order.iter().map(|&id| ((f64::from(logits[id as usize]) - max) / temperature).exp()).collect();
    let sum: f64 = all.iter().sum();
    for p in &mut all {
        *p /= sum;
    }
    all
}

/// How many of the falling probabilities (which sum to `within`) reach the share `top_p`. At least one.
fn nucleus(falling: &[f64], within: f64, top_p: f64) -> usize {
    if top_p >= 1.0 {
        return falling.len();
    }
    let mut sum = 0.0;
    for (index, p) in falling.iter().enumerate() {
        sum += p / within;
        if sum >= top_p {
            return index + 1;
        }
    }
    falling.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(logits: &[f32], sliders: Sliders) -> Next {
        next(logits, &Ranking::new(logits), sliders, 10, None)
    }

    /// Logits of probabilities 0.5, 0.25, 0.125, 0.125.
    fn halves() -> Vec<f32> {
        [0.125_f32, 0.5, 0.25, 0.125].map(f32::ln).to_vec()
    }

    #[test]
    fn untouched_sliders_give_the_models_distribution() {
        let next = run(&halves(), Sliders::default());
        assert_eq!(next.kept, 4);
        assert!((next.entropy - 1.75).abs() < 1e-5);
        let ids: Vec<u32> = next.shown.iter().map(|c| c.token).collect();
        assert_eq!(ids, [1, 2, 0, 3]);
        assert!((next.shown[0].after - 0.5).abs() < 1e-6);
    }

    #[test]
    fn top_k_and_top_p_cut_and_share_out_again() {
        let sliders = Sliders { top_k: 2, ..Sliders::default() };
        let next = run(&halves(), sliders);
        assert_eq!(next.kept, 2);
        assert!((next.kept_mass - 0.75).abs() < 1e-6);
        assert!((next.shown[0].after - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(next.shown[2].after, 0.0);

        let sliders = Sliders { top_p: 0.6, ..Sliders::default() };
        assert_eq!(run(&halves(), sliders).kept, 2);
        let sliders = Sliders { top_p: 0.0, ..Sliders::default() };
        assert_eq!(run(&halves(), sliders).kept, 1);
    }

    #[test]
    fn temperature_zero_is_greedy_and_two_is_flatter() {
        let sliders = |temperature| Sliders { temperature, ..Sliders::default() };
        let greedy = run(&halves(), sliders(0.0));
        assert_eq!(greedy.shown[0].after, 1.0);
        assert_eq!((greedy.kept, greedy.entropy), (1, 0.0));
        assert!(greedy.entropy.is_sign_positive());
        assert!(run(&halves(), sliders(2.0)).entropy > 1.75);
        assert!(run(&halves(), sliders(0.5)).entropy < 1.75);
    }

    #[test]
    fn a_token_beyond_the_shown_is_added_at_its_place() {
        let logits = halves();
        let next = next(&logits, &Ranking::new(&logits), Sliders::default(), 2, Some(3));
        assert_eq!(next.shown.len(), 3);
        assert_eq!(next.shown[2].place, 3);
    }
}
