//! What happens to a list after scoring: boosts, diversity, caps per group, and quotas.
//!
//! In: candidates with scores, best first, and [`RerankRules`] joined to a catalogue.  Out: the same items in another order.
//! Greedy, slot by slot: a slot that a quota still needs goes to its best item; any other slot to the item with the largest
//! λ·relevance − (1−λ)·likeness to what is chosen (MMR: Carbonell & Goldstein, SIGIR 1998) among those that no cap forbids.
//! So the beginning of a long list is the short list, as long as both come from the same candidates.
//! Never here: scores themselves, what may be shown at all (both in `stages`).
//! Start at [`Reranker::join`], then [`Reranker::choose`].

use domain::{Boost, Cap, Explore, Quota, RerankRules};

use crate::filter::{Catalogue, Condition, ConditionError, ItemSet};
use crate::scorer::Scorer;
use crate::top_k::by_rank;

/// Why rules cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    #[error("rule `{rule}`: {source}")]
    Condition { rule: String, source: ConditionError },
    #[error("`{name}` of `[rerank]` is `{value}`, but must be {expected}")]
    Range { name: &'static str, value: String, expected: &'static str },
}

/// Errors: the first value that is out of range.
fn check(rules: &RerankRules) -> Result<(), RuleError> {
    let range = |name, value: f64, is_good: bool, expected| match is_good {
        true => Ok(()),
        false => Err(RuleError::Range { name, value: value.to_string(), expected }),
    };
    range("candidates", rules.candidates as f64, (1..=10_000).contains(&rules.candidates), "between 1 and 10000")?;
    range("diversity", rules.diversity, (0.0..=1.0).contains(&rules.diversity), "between 0 and 1")?;
    for boost in &rules.boosts {
        range("factor", boost.factor, boost.factor.is_finite() && boost.factor >= 0.0, "0 or more")?;
    }
    for cap in &rules.caps {
        range("of", cap.of as f64, cap.of > 0, "1 or more")?;
    }
    if let Some(explore) = &rules.explore {
        range("explore.share", explore.share, (0.0..=1.0).contains(&explore.share), "between 0 and 1")?;
        range("explore.from", explore.from as f64, (1..=1_000).contains(&explore.from), "between 1 and 1000")?;
    }
    for quota in &rules.quotas {
        range("share", quota.share, quota.share > 0.0 && quota.share <= 1.0, "above 0 and at most 1")?;
    }
    Ok(())
}

/// Rules joined to the items of one artefact.
#[derive(Debug, Clone)]
pub struct Reranker {
    candidates: usize,
    lambda: f32,
    hidden: ItemSet,
    boosts: Vec<(ItemSet, f32)>,
    caps: Vec<GroupCap>,
    quotas: Vec<(ItemSet, f64)>,
    explore: Option<Explore>,
    orders: bool,
}

#[derive(Debug, Clone)]
struct GroupCap {
    /// By ordinal.
    groups: Vec<Option<u32>>,
    most: usize,
    of: usize,
}

impl Reranker {
    /// Joins the rules to items; `now` is the moment that `now` means in conditions, seconds since 1970 UTC.
    pub fn join(rules: &RerankRules, catalogue: &Catalogue, now: i64) -> Result<Self, RuleError> {
        check(rules)?;
        let failed = |rule: &str| {
            let rule = rule.to_owned();
            move |source| RuleError::Condition { rule, source }
        };
        let select = |text: &String| {
            Condition::parse(text).and_then(|condition| catalogue.select(&condition, now)).map_err(failed(text))
        };
        let boost = |boost: &Boost| Ok((select(&boost.condition)?, boost.factor as f32));
        let quota = |quota: &Quota| Ok((select(&quota.condition)?, quota.share));
        let cap = |cap: &Cap| {
            let groups = catalogue.groups(&cap.attribute).map_err(failed(&cap.attribute))?;
            Ok(GroupCap { groups, most: cap.most, of: cap.of })
        };
        Ok(Self {
            explore: rules.explore.clone().filter(|explore| explore.share > 0.0),
            orders: !RerankRules { explore: None, ..rules.clone() }.is_empty(),
            candidates: rules.candidates,
            lambda: rules.diversity as f32,
            hidden: rules.hide.as_ref().map(select).transpose()?.unwrap_or_default(),
            boosts: rules.boosts.iter().map(boost).collect::<Result<_, _>>()?,
            caps: rules.caps.iter().map(cap).collect::<Result<_, _>>()?,
            quotas: rules.quotas.iter().map(quota).collect::<Result<_, _>>()?,
        })
    }

    /// Items that are never shown.
    pub(crate) fn hidden(&self) -> &ItemSet {
        &self.hidden
    }

    /// What is given away by lot.
    pub(crate) fn explore(&self) -> Option<&Explore> {
        self.explore.as_ref()
    }

    /// Whether anything but exploration is asked for: without it lists stay as they were scored.
    pub(crate) fn orders(&self) -> bool {
        self.orders
    }

    /// How many candidates a list of `limit` items is chosen from.
    pub(crate) fn candidates(&self, limit: usize) -> usize {
        self.candidates.max(limit)
    }

    /// The items that quotas keep a place for: their best are candidates for these places, whatever their rank.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = &ItemSet> {
        self.quotas.iter().map(|(items, _)| items)
    }

    /// The same rules without caps: tells whether a cap kept an item away.
    pub(crate) fn without_caps(&self) -> Self {
        Self { caps: Vec::new(), ..self.clone() }
    }

    /// Chooses `limit` items that follow `before` on the list. `candidates` and `reserve` are best first; items of the reserve
    /// are taken for quotas only. Keeps the scores as they are.
    ///
    /// Cost: limit · candidates, and with λ < 1 one pass over all items per slot for likeness.
    pub(crate) fn choose(
        &self,
        scorer: &Scorer,
        before: &[u32],
        candidates: &[(u32, f32)],
        reserve: &[(u32, f32)],
        limit: usize,
    ) -> Vec<(u32, f32)> {
        let mut pool = Pool::new(self, candidates, reserve);
        let mut list: Vec<u32> = before.to_vec();
        if self.lambda < 1.0 {
            before.iter().for_each(|item| pool.meet(scorer, *item));
        }
        let mut chosen = Vec::with_capacity(limit);
        while chosen.len() < limit {
            let Some(place) = self.next(&pool, &list) else {
                break;
            };
            let entry = pool.entries[place];
            pool.entries[place].is_taken = true;
            if self.lambda < 1.0 {
                pool.meet(scorer, entry.item);
            }
            list.push(entry.item);
            chosen.push((entry.item, entry.score));
        }
        chosen
    }

    /// The place in the pool of the item for the next slot.
    fn next(&self, pool: &Pool, list: &[u32]) -> Option<usize> {
        let slot = list.len() + 1;
        let due = self.quotas.iter().find(|(items, share)| {
            let there = list.iter().filter(|item| items.contains(**item)).count();
            // A hair more, so that 10 · 0.1 is 1 whatever the binary fraction of 0.1.
            there < (slot as f64 * share + 1e-9) as usize
        });
        let is_allowed = |item: u32| self.caps.iter().all(|cap| cap.allows(list, item));
        let best = |is_wanted: &dyn Fn(&Entry) -> bool| {
            let free = pool.entries.iter().enumerate().filter(|(_, entry)| !entry.is_taken && is_wanted(entry));
            let ranked = free.filter(|(_, entry)| is_allowed(entry.item)).map(|(place, entry)| {
                let value = self.lambda * entry.relevance - (1.0 - self.lambda) * entry.likeness;
                (place, entry.item, value)
            });
            ranked.min_by(|left, right| by_rank((left.1, left.2), (right.1, right.2))).map(|(place, _, _)| place)
        };
        due.and_then(|(items, _)| best(&|entry| items.contains(entry.item)))
            .or_else(|| best(&|entry| !entry.is_reserve))
    }
}

impl GroupCap {
    fn allows(&self, list: &[u32], item: u32) -> bool {
        let group = |item: u32| self.groups.get(item as usize).copied().flatten();
        let Some(of_item) = group(item) else {
            return true;
        };
        list.len() >= self.of || list.iter().filter(|other| group(**other) == Some(of_item)).count() < self.most
    }
}

/// A candidate on its way to a slot.
#[derive(Debug, Clone, Copy)]
struct Entry {
    item: u32,
    score: f32,
    /// 0 to 1 within the candidates, times its boosts.
    relevance: f32,
    /// The largest likeness to anything chosen so far, 0 to 1.
    likeness: f32,
    is_reserve: bool,
    is_taken: bool,
}

struct Pool {
    entries: Vec<Entry>,
}

impl Pool {
    fn new(rules: &Reranker, candidates: &[(u32, f32)], reserve: &[(u32, f32)]) -> Self {
        let (best, worst) = match (candidates.first(), candidates.last()) {
            (Some(first), Some(last)) => (first.1, last.1),
            (_, _) => (0.0, 0.0),
        };
        let relevance = |item: u32, score: f32| {
            let scaled = if best > worst { ((score - worst) / (best - worst)).max(0.0) } else { 1.0 };
            let boosts = rules.boosts.iter().filter(|(items, _)| items.contains(item)).map(|(_, factor)| factor);
            scaled * boosts.product::<f32>()
        };
        let entry = |&(item, score): &(u32, f32), is_reserve| {
            let relevance = relevance(item, score);
            Entry { item, score, relevance, likeness: 0.0, is_reserve, is_taken: false }
        };
        let mut entries: Vec<Entry> = candidates.iter().map(|candidate| entry(candidate, false)).collect();
        for other in reserve {
            if !entries.iter().any(|known| known.item == other.0) {
                entries.push(entry(other, true));
            }
        }
        Self { entries }
    }

    /// An item was chosen: what is like it loses.
    fn meet(&mut self, scorer: &Scorer, item: u32) {
        let Some(likeness) = scorer.similar(item) else {
            return;
        };
        // Scales differ between models: the most alike item counts 1.
        let others = likeness.iter().enumerate().filter(|(other, value)| *other != item as usize && !value.is_nan());
        let most = others.map(|(_, value)| *value).fold(0.0, f32::max);
        if most <= 0.0 {
            return;
        }
        for entry in &mut self.entries {
            let value = likeness.get(entry.item as usize).copied().unwrap_or(f32::NAN) / most;
            if value > entry.likeness {
                entry.likeness = value.min(1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Model, neighbours::Neighbours};
    use crate::scorer::Part;
    use crate::{RecommenderKind, WeightScheme, Weighting};
    use domain::ItemId;
    use serde_json::json;

    /// Items a–h: even ones are mugs, odd ones plates; g and h are new. Items of one category are alike.
    fn catalogue() -> Catalogue {
        let ids: Vec<ItemId> = ('a'..='h').map(|id| id.to_string().parse().unwrap()).collect();
        let attributes: Vec<_> = (0..8)
            .map(|item| json!({"category": if item % 2 == 0 { "mugs" } else { "plates" }, "new": item > 5}))
            .map(|value| serde_json::from_value(value).unwrap())
            .collect();
        Catalogue::new(&ids, &attributes)
    }

    fn scorer() -> Scorer {
        let alike =
            |item: u32| (0..8).filter(move |other| *other != item && other % 2 == item % 2).map(|other| (other, 1.0));
        let rows = (0..8).map(|item| alike(item).collect()).collect();
        let model = Model::Neighbours(Neighbours::from_targets(rows, RecommenderKind::ItemKnn).unwrap());
        let weighting = Weighting {
            scheme: WeightScheme::Binary,
            half_life_days: None,
            cap: None,
            as_of: 0,
            max_history: 9,
            recency: None,
        };
        Scorer::new(RecommenderKind::ItemKnn, vec![Part { weight: 1.0, weighting, model: std::sync::Arc::new(model) }])
    }

    /// The list under the rules, best scores first being mugs: a c e b d f (6 … 1); g and h far behind.
    fn list(rules: &str, limit: usize) -> String {
        let rules: RerankRules = toml::from_str(rules).unwrap();
        let reranker = Reranker::join(&rules, &catalogue(), 0).unwrap();
        let candidates: Vec<(u32, f32)> = [0, 2, 4, 1, 3, 5].into_iter().zip([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).collect();
        let chosen = reranker.choose(&scorer(), &[], &candidates, &[(6, 0.5), (7, 0.2)], limit);
        chosen.into_iter().map(|(item, _)| char::from(b'a' + item as u8)).collect()
    }

    #[test]
    fn no_rule_changes_nothing_and_each_rule_does_its_own() {
        let cases = [
            ("", 6, "acebdf"),
            ("", 3, "ace"),
            // λ = ½: c .4 − .5, e .3 − .5, d .1 − .5 once a and b are there.
            ("diversity = 0.5", 4, "abce"),
            ("[[caps]]\nattribute = \"category\"\nmost = 1\nof = 2", 6, "abcedf"),
            ("[[caps]]\nattribute = \"category\"\nmost = 2\nof = 4", 6, "acbdef"),
            // Relevances 1, .8, .6, .4, .2, 0: a plate at .4 becomes .9, at .2 .45.
            ("[[boosts]]\nwhere = \"category = 'plates'\"\nfactor = 2.25", 6, "abcedf"),
            ("[[boosts]]\nwhere = \"category = 'mugs'\"\nfactor = 0.0", 6, "bdacef"),
            ("[[quotas]]\nwhere = \"new\"\nshare = 0.25", 6, "acegbd"),
            ("[[quotas]]\nwhere = \"new\"\nshare = 0.5", 5, "agche"),
            ("[[quotas]]\nwhere = \"category = 'plates'\"\nshare = 0.34", 6, "acbedf"),
        ];
        for (rules, limit, expected) in cases {
            assert_eq!(list(rules, limit), expected, "{rules}");
        }
    }

    #[test]
    fn the_beginning_of_a_longer_list_is_the_shorter_list() {
        let rules = "diversity = 0.7\n[[caps]]\nattribute = \"category\"\nmost = 2\nof = 4\n[[quotas]]\nwhere = \"new\"\nshare = 0.2";
        let long = list(rules, 8);
        (0..long.len()).for_each(|limit| assert_eq!(list(rules, limit), long[..limit]));
    }

    #[test]
    fn rules_that_make_no_sense_are_named() {
        let error = |rules: &str| {
            let rules: RerankRules = toml::from_str(rules).unwrap();
            Reranker::join(&rules, &catalogue(), 0).unwrap_err().to_string()
        };
        assert_eq!(error("diversity = 1.5"), "`diversity` of `[rerank]` is `1.5`, but must be between 0 and 1");
        assert_eq!(
            error("hide = \"categry = 'mugs'\""),
            "rule `categry = 'mugs'`: items have no attribute `categry`; did you mean `category`?"
        );
        assert!(error("[[caps]]\nattribute = \"brand\"\nmost = 1\nof = 2").contains("no attribute `brand`"));
        assert!(error("[[quotas]]\nwhere = \"new\"\nshare = 0.0").contains("above 0"));
        assert!(RerankRules::default().is_empty());
    }
}
