//! How many visits it takes to see which of two rankers is better: in one list, and in an A/B test on the same users.
//!
//! In: users who differ in how much they click, and two rankers that differ a little in how well they guess their taste.
//! Out: power of both at the same number of visits.
//! Never here: how lists are made.
//! Start at [`Visitor`].

use experiment::ranking::interleave::{credit, preference, team_draft, visit_score};
use experiment::stats::distributions::normal_sf;
use experiment::stats::group_sequential::Sides;
use experiment::stats::power::Plan;

use crate::{Draws, deviation, mean, three_errors};

const ITEMS: usize = 20;
const LENGTH: usize = 10;

/// A visit: chances that the user clicks on each item when it is looked at.
struct Visitor {
    chances: [f64; ITEMS],
}

impl Visitor {
    /// Users differ in activity far more than rankers differ in quality; that is what an A/B test has to average away.
    fn draw(draws: &mut Draws) -> Self {
        let activity = (0.9 * draws.normal()).exp();
        let chances = std::array::from_fn(|_| (0.08 * activity * (0.8 * draws.normal()).exp()).min(0.9));
        Self { chances }
    }

    /// Items by a guess of the user's taste that is off by `noise` on the logarithmic scale.
    fn ranking(&self, noise: f64, draws: &mut Draws) -> Vec<usize> {
        let mut guesses: Vec<(f64, usize)> =
            self.chances.iter().enumerate().map(|(item, c)| (c.ln() + noise * draws.normal(), item)).collect();
        guesses.sort_by(|one, other| other.0.total_cmp(&one.0));
        guesses.into_iter().map(|(_, item)| item).collect()
    }

    /// Clicks to be expected on a list.
    fn expected_clicks(&self, list: &[usize]) -> f64 {
        list.iter().enumerate().map(|(place, item)| self.chances[*item] / (place as f64 + 2.0).log2()).sum()
    }

    /// Clicked places of a list: lower places are looked at less (1 / log2(place + 2), as in DCG).
    fn clicks(&self, list: &[usize], draws: &mut Draws) -> Vec<usize> {
        (0..list.len()).filter(|place| draws.is(self.chances[list[*place]] / (*place as f64 + 2.0).log2())).collect()
    }
}

const BETTER: f64 = 0.5;
const WORSE: f64 = 0.7;
/// One click in ten ends in an order.
const ORDERS_PER_CLICK: f64 = 0.1;

/// Clicks per visit with one ranker alone: the metric of the A/B test.
fn clicks_alone(noise: f64, visits: usize, draws: &mut Draws) -> Vec<f64> {
    (0..visits)
        .map(|_| {
            let visitor = Visitor::draw(draws);
            let ranking = visitor.ranking(noise, draws);
            visitor.clicks(&ranking[..LENGTH], draws).len() as f64
        })
        .collect()
}

/// The p of the sign test over visits to interleaved lists, and who won.
fn interleaved(noises: (f64, f64), visits: usize, draws: &mut Draws) -> (f64, f64) {
    let mut counts = [0u64; 3];
    for _ in 0..visits {
        let visitor = Visitor::draw(draws);
        let (a, b) = (visitor.ranking(noises.0, draws), visitor.ranking(noises.1, draws));
        let list = team_draft(&[&a, &b], LENGTH, draws.seed()).unwrap();
        let clicks = credit(&list.pickers, 2, &visitor.clicks(&list.items, draws)).unwrap();
        counts[(visit_score(clicks[0], clicks[1]) + 1) as usize] += 1;
    }
    let found = preference(counts[2], counts[0], counts[1], 0.05).unwrap();
    (found.p, found.delta)
}

/// Visits that an A/B test needs in both arms for a power of .95.
fn visits_of_ab(worse: &[f64], better: &[f64], difference: f64) -> f64 {
    let plan = Plan { power: 0.95, sides: Sides::Two, ..Plan::default() };
    2.0 * plan.units_per_arm((deviation(worse).powi(2), deviation(better).powi(2)), difference).unwrap()
}

/// Orders that follow from the clicks of each visit.
fn orders(clicks: &[f64], draws: &mut Draws) -> Vec<f64> {
    clicks.iter().map(|clicks| (0..*clicks as usize).filter(|_| draws.is(ORDERS_PER_CLICK)).count() as f64).collect()
}

#[test]
fn interleaving_needs_ten_times_fewer_visits_than_an_ab_test() {
    const RUNS: usize = 200;
    const SAMPLE: usize = 50_000;
    let mut draws = Draws::new(51);
    let (b, a) = (clicks_alone(WORSE, SAMPLE, &mut draws), clicks_alone(BETTER, SAMPLE, &mut draws));
    // What both rankers earn from the same visitors tells the difference more exactly than any test could.
    let differences: Vec<f64> = (0..SAMPLE)
        .map(|_| {
            let visitor = Visitor::draw(&mut draws);
            let (a, b) = (visitor.ranking(BETTER, &mut draws), visitor.ranking(WORSE, &mut draws));
            visitor.expected_clicks(&a[..LENGTH]) - visitor.expected_clicks(&b[..LENGTH])
        })
        .collect();
    let difference = mean(&differences);
    assert!(difference > 20.0 * deviation(&differences) / (SAMPLE as f64).sqrt(), "{difference}");
    let by_clicks = visits_of_ab(&b, &a, difference);
    let (b, a) = (orders(&b, &mut draws), orders(&a, &mut draws));
    let by_orders = visits_of_ab(&b, &a, difference * ORDERS_PER_CLICK);
    // Seen here: by clicks the factor is about 8; by orders, on which A/B tests of shops are decided, far more.
    let visits = (by_clicks / 6.0).min(by_orders / 10.0);
    let is_found = |(p, delta): (f64, f64)| p < 0.05 && delta > 0.0;
    let found = (0..RUNS).filter(|_| is_found(interleaved((BETTER, WORSE), visits as usize, &mut draws))).count();
    let power = found as f64 / RUNS as f64;
    eprintln!(
        "visits: {by_clicks:.0} by clicks, {by_orders:.0} by orders; interleaving has power {power} at {visits:.0}"
    );
    assert!(power >= 0.95, "{by_clicks} {by_orders}; power {power} at {visits}");
    // The A/B test by clicks finds little on as few visits.
    let half = visits as usize / 2;
    let ab = (0..RUNS).filter(|_| {
        let (a, b) = (clicks_alone(BETTER, half, &mut draws), clicks_alone(WORSE, half, &mut draws));
        let error = ((deviation(&a).powi(2) + deviation(&b).powi(2)) / half as f64).sqrt();
        2.0 * normal_sf(((mean(&a) - mean(&b)) / error).abs()) < 0.05
    });
    let ab = ab.count() as f64 / RUNS as f64;
    assert!(ab < 0.6, "{ab}");
}

#[test]
fn rankers_of_equal_quality_are_told_apart_only_by_chance() {
    const RUNS: usize = 1_500;
    let mut draws = Draws::new(52);
    let found = (0..RUNS).filter(|_| interleaved((BETTER, BETTER), 300, &mut draws).0 < 0.05).count();
    let share = found as f64 / RUNS as f64;
    assert!(share <= 0.05 + three_errors(0.05, RUNS), "{share}");
}
