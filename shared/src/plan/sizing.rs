//! How large a model a budget of computing makes best, after Hoffmann 2022 ("Chinchilla").

/// Tokens for each parameter, by the paper's first two approaches (table 2: both exponents 0.5; table 3: 20 tokens a parameter).
pub const TOKENS_PER_PARAMETER: f64 = 20.0;

/// A model and how much it reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizing {
    pub parameters: f64,
    pub tokens: f64,
}

impl Sizing {
    /// The tokens that suit a model of this size.
    pub fn for_parameters(parameters: f64) -> Self {
        Self { parameters, tokens: TOKENS_PER_PARAMETER * parameters }
    }

    /// What a budget of floating point operations is best spent on, with 6 for each parameter and token.
    pub fn for_flops(flops: f64) -> Self {
        Self::for_parameters((flops / (6.0 * TOKENS_PER_PARAMETER)).sqrt())
    }

    pub fn flops(&self) -> f64 {
        6.0 * self.parameters * self.tokens
    }

    /// The loss in nats a token that the paper's parametric fit expects on its own data (equation 10: E, A, B, α, β). On other texts
    /// and vocabularies its differences say more than its value.
    pub fn loss(&self) -> f64 {
        const E: f64 = 1.69;
        const A: f64 = 406.4;
        const B: f64 = 410.7;
        const ALPHA: f64 = 0.34;
        const BETA: f64 = 0.28;
        E + A / self.parameters.powf(ALPHA) + B / self.tokens.powf(BETA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 3 of the paper: parameters, operations, tokens.
    #[test]
    fn the_papers_table_is_met() {
        let table = [
            (400e6, 1.92e19, 8.0e9),
            (1e9, 1.21e20, 20.2e9),
            (10e9, 1.23e22, 205.1e9),
            (67e9, 5.76e23, 1.5e12),
            (175e9, 3.85e24, 3.7e12),
        ];
        for (parameters, flops, tokens) in table {
            let of_size = Sizing::for_parameters(parameters);
            assert!((of_size.tokens / tokens - 1.0).abs() < 0.12, "{parameters}: {:e}", of_size.tokens);
            assert!((of_size.flops() / flops - 1.0).abs() < 0.12, "{parameters}: {:e}", of_size.flops());
            let of_budget = Sizing::for_flops(flops);
            assert!((of_budget.parameters / parameters - 1.0).abs() < 0.08, "{flops}: {:e}", of_budget.parameters);
        }
    }

    /// The paper's own two models of one budget (section 4): Chinchilla's 70 B on 1.4 T tokens beats Gopher's 280 B on 300 B.
    #[test]
    fn more_data_beats_more_weights() {
        let chinchilla = Sizing { parameters: 70e9, tokens: 1.4e12 };
        let gopher = Sizing { parameters: 280e9, tokens: 300e9 };
        assert!(chinchilla.loss() < gopher.loss() && chinchilla.loss() > 1.69);
    }
}
