//! Item-to-item neighbours: an item is recommended because the same people chose it and items of the history.
//!
//! In: users × items, sparse.  Out: [`Neighbours`].
//! Similarity (reference 2.5): S_ij = g_ij / (d_i^a · d_j^(1−a) + shrink), g_ij = Σ_u x_ui·x_uj, d_i = g_ii, i in the
//! history, j scored. The best K are kept per *scored* item j: keeping them per history item costs a quarter of recall.
//! Never here: a dense items × items matrix.
//! Start at [`train`].

use super::neighbours::Neighbours;
use super::pairs::strongest_pairs;
use crate::{Csr, ItemKnnParameters, RecommendError, RecommenderKind, UserWeighting};

/// Saturation and length normalisation of BM25 as in Robertson & Zaragoza 2009, section 3.4.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// Errors: `TooManyItems` beyond 2³² neighbours. Cost: that of [`strongest_pairs`], a division for each strength.
pub(crate) fn train(matrix: &Csr, parameters: &ItemKnnParameters) -> Result<Neighbours, RecommendError> {
    let weighted = weighted(matrix, parameters.user_weighting);
    let norms = squared_norms(&weighted);
    let history_norms: Vec<f32> = norms.iter().map(|norm| norm.powf(parameters.exponent as f32)).collect();
    let target_norms: Vec<f32> = norms.iter().map(|norm| norm.powf(1.0 - parameters.exponent as f32)).collect();
    let shrink = parameters.shrink as f32;
    let strength = |target: u32, item: u32, together: f32| {
        together / (history_norms[item as usize] * target_norms[target as usize] + shrink)
    };
    let neighbours = strongest_pairs(&weighted, parameters.neighbours, strength, |pairs| {
        let (as_history, as_target) = (history_norms[pairs.item as usize], target_norms[pairs.item as usize]);
        for ((out, together), norm) in
            pairs.for_item.iter_mut().zip(pairs.sums).zip(&history_norms[pairs.others.clone()])
        {
            *out = together / (norm * as_target + shrink);
        }
        for ((out, together), norm) in pairs.for_others.iter_mut().zip(pairs.sums).zip(&target_norms[pairs.others]) {
            *out = together / (as_history * norm + shrink);
        }
    });
    Neighbours::from_targets(neighbours, RecommenderKind::ItemKnn)
}

/// Σ_u x_ui² of every item, users in order.
fn squared_norms(matrix: &Csr) -> Vec<f32> {
    let mut norms = vec![0f32; matrix.columns()];
    for user in 0..matrix.rows() {
        let (items, values) = matrix.row(user);
        items.iter().zip(values).for_each(|(&item, value)| norms[item as usize] += value * value);
    }
    norms
}

/// The matrix with each user's pairs weighted by what a history of this length is worth.
fn weighted(matrix: &Csr, weighting: UserWeighting) -> Csr {
    let items = matrix.columns() as f32;
    let mean = matrix.stored() as f32 / matrix.rows().max(1) as f32;
    matrix.map_values(|user, value| {
        let length = matrix.row_len(user) as f32;
        let idf = (1.0 + items / length).ln();
        match weighting {
            UserWeighting::None => value,
            UserWeighting::Idf => value * idf,
            UserWeighting::Bm25 => value * (K1 + 1.0) / (K1 * (1.0 - B + B * length / mean) + value) * idf,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weighting::WeightedItem;

    /// Users: {0, 1}, {0, 1, 2}, {0}, {2}.  g_01 = 2, g_02 = 1, g_12 = 1; d = 3, 2, 2.
    fn matrix() -> Csr {
        let rows: [&[u32]; 4] = [&[0, 1], &[0, 1, 2], &[0], &[2]];
        Csr::from_rows(3, rows.map(|items| items.iter().map(|&item| (item, 1.0)).collect::<Vec<_>>()))
    }

    fn alone(item: u32) -> [WeightedItem; 1] {
        [WeightedItem { item, weight: 1.0 }]
    }

    #[test]
    fn similarities_are_cosines() {
        let model = train(&matrix(), &ItemKnnParameters::default()).unwrap();
        let scores = model.scores(&alone(0));
        assert!(scores[0].is_nan());
        assert!((scores[1] - 2.0 / 6f32.sqrt()).abs() < 1e-6);
        assert!((scores[2] - 1.0 / 6f32.sqrt()).abs() < 1e-6);
        assert_eq!(model.contributions(&alone(0), 2), [scores[2]]);
    }

    #[test]
    fn the_best_neighbours_are_kept_per_scored_item() {
        // K = 1: target 0 keeps 1 (.82 against .41); target 1 keeps 0; target 2 keeps 1 (1/2 against 1/√6).
        let model = train(&matrix(), &ItemKnnParameters { neighbours: 1, ..Default::default() }).unwrap();
        let of_one = model.scores(&alone(1));
        assert!((of_one[0] - 2.0 / 6f32.sqrt()).abs() < 1e-6 && (of_one[2] - 0.5).abs() < 1e-6);
        assert!(model.scores(&alone(2)).iter().all(|score| score.is_nan()));
        assert_eq!(model.stored(), 3);
    }

    #[test]
    fn one_item_has_no_neighbour() {
        let model = train(&Csr::from_rows(1, [[(0, 1.0)]]), &ItemKnnParameters::default()).unwrap();
        assert!(model.scores(&alone(0))[0].is_nan());
    }

    #[test]
    fn who_takes_everything_says_less_about_a_pair() {
        // Users {0, 1}, {0, 2}, {0, 1, 2, 3}: idf ln 3, ln 3, ln 2.  Without it 0–1 and 0–3 differ by counts alone.
        let rows: [&[u32]; 3] = [&[0, 1], &[0, 2], &[0, 1, 2, 3]];
        let matrix = Csr::from_rows(4, rows.map(|items| items.iter().map(|&item| (item, 1.0)).collect::<Vec<_>>()));
        let parameters = ItemKnnParameters { user_weighting: UserWeighting::Idf, ..Default::default() };
        let scores = train(&matrix, &parameters).unwrap().scores(&alone(0));
        let (short, long) = (3f32.ln().powi(2), 2f32.ln().powi(2));
        let norm_0 = (2.0 * short + long).sqrt();
        assert!((scores[1] - (short + long) / (norm_0 * (short + long).sqrt())).abs() < 1e-5, "{scores:?}");
        assert!((scores[3] - long / (norm_0 * long.sqrt())).abs() < 1e-5, "{scores:?}");
        let bm25 = ItemKnnParameters { user_weighting: UserWeighting::Bm25, ..Default::default() };
        let scores = train(&matrix, &bm25).unwrap().scores(&alone(0));
        assert!(scores[1] > scores[3], "{scores:?}");
    }
}
