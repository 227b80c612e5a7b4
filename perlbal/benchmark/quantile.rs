//! Where most of many measurements lie.

/// What the middle one of them is.
pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// What so large a part of them is not above; 1 for the highest.
pub(crate) fn quantile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let nth = (part * sorted.len() as f64).ceil();
    // Rank 1 is the first.
    sorted
        .iter()
        .zip(1_u32..)
        .find(|(_, rank)| f64::from(*rank) >= nth)
        .map_or(f64::NAN, |(value, _)| *value)
}
