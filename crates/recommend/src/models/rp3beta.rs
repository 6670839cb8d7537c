//! A walk from an item of the history over a user who chose it to another item that user chose, popular ends damped.
//!
//! In: users × items, sparse.  Out: [`Neighbours`].
//! W_ij = Σ_u (x_ui/d_i)^α · (x_uj/n_u)^α / d_j^β with d and n the sums of items and users (Paudel et al., TiiS 2017).
//! The best K are kept per history item, as in the paper. Reaches more of the catalogue than the other good models.
//! Never here: a dense items × items matrix.
//! Start at [`train`].

use super::neighbours::{Neighbours, strongest_partners};
use crate::{Csr, RecommendError, RecommenderKind, Rp3betaParameters};

/// Walks from every item. Errors: `TooManyItems` beyond 2³² neighbours. Cost: Σ_u n_u² multiply-adds.
pub(crate) fn train(matrix: &Csr, parameters: &Rp3betaParameters) -> Result<Neighbours, RecommendError> {
    let (alpha, beta) = (parameters.alpha as f32, parameters.beta as f32);
    let by_item = matrix.transposed();
    let item_sums = row_sums(&by_item);
    let user_sums = row_sums(matrix);
    let to_user = by_item.map_values(|item, value| (value / item_sums[item]).powf(alpha));
    let to_item = matrix.map_values(|user, value| (value / user_sums[user]).powf(alpha));
    let damping: Vec<f32> = item_sums.iter().map(|sum| sum.powf(beta)).collect();
    let strength = |_from: u32, end: u32, walked: f32| walked / damping[end as usize];
    let rows = strongest_partners(&to_item, &to_user, parameters.neighbours, strength);
    Neighbours::from_history(&Csr::from_rows(rows.len(), rows), RecommenderKind::Rp3beta)
}

fn row_sums(matrix: &Csr) -> Vec<f32> {
    (0..matrix.rows()).map(|row| matrix.row(row).1.iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weighting::WeightedItem;

    #[test]
    fn walks_equal_hand_computed_probabilities() {
        // Users {0, 1}, {0, 1, 2}; d = 2, 2, 1.  From 0 to 1: ½·½ + ½·⅓ = 5/12, to 2: ½·⅓ = 1/6; over d^½.
        let rows: [&[u32]; 2] = [&[0, 1], &[0, 1, 2]];
        let matrix = Csr::from_rows(3, rows.map(|items| items.iter().map(|&item| (item, 1.0)).collect::<Vec<_>>()));
        let parameters = Rp3betaParameters { beta: 0.5, ..Default::default() };
        let scores = train(&matrix, &parameters).unwrap().scores(&[WeightedItem { item: 0, weight: 1.0 }]);
        assert!(scores[0].is_nan());
        assert!((scores[1] - 5.0 / 12.0 / 2f32.sqrt()).abs() < 1e-6 && (scores[2] - 1.0 / 6.0).abs() < 1e-6);
        // One kept per history item: 0 keeps 1.
        let one = Rp3betaParameters { neighbours: 1, ..parameters };
        assert!(train(&matrix, &one).unwrap().scores(&[WeightedItem { item: 0, weight: 1.0 }])[2].is_nan());
    }
}
