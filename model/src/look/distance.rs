//! How far back a head looks: its mean weight at every distance. Plain arithmetic on weights that were read already.

/// Mean weight by distance, `[heads, T]` in a row, from the weights `[heads, T, T]` of causal attention. Distance `d` is the mean over
/// the `T - d` queries that have a key so far back; 0 is the token itself.
pub fn by_distance(weights: &[f32], time: usize) -> Vec<f32> {
    if time == 0 {
        return Vec::new();
    }
    let mean = |head: &[f32], distance: usize| {
        let sum: f64 = (distance..time).map(|query| f64::from(head[query * time + query - distance])).sum();
        (sum / (time - distance) as f64) as f32
    };
    weights.chunks_exact(time * time).flat_map(|head| (0..time).map(move |distance| mean(head, distance))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distance_has_its_own_mean() {
        #[rustfmt::skip]
        let weights = [
            // Even over what is visible.
            1.0, 0.0, 0.0,
            0.5, 0.5, 0.0,
            0.25, 0.25, 0.5,
            // Always the token before, where there is one.
            1.0, 0.0, 0.0,
            1.0, 0.0, 0.0,
            0.0, 1.0, 0.0,
        ];
        assert_eq!(by_distance(&weights, 3), [2.0 / 3.0, 0.375, 0.25, 1.0 / 3.0, 1.0, 0.0]);
        assert!(by_distance(&[], 3).is_empty() && by_distance(&[], 0).is_empty());
    }
}
