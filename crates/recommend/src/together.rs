//! Lists for many users at once: what an index can share between them is read once.
//!
//! In: histories and requests.  Out: exactly the lists of [`Ranker::recommend`], in their order.
//! Never here: which users, threads.
//! Start at [`Ranker::recommend_each`].

use crate::scorer::WeighedHistory;
use crate::{FactorIndex, FactorRows, HistoryItem, ItemSet, RankRequest, RankedList, Ranker};

/// Users whose lists are made together: by then the items are read from memory seldom enough that computing takes the time.
/// Measured over a million items of 64 factors: 2.25 ms a list alone, 0.77 in eights, 0.63 in thirty-twos.
pub const TOGETHER: usize = 32;

impl Ranker {
    /// [`Ranker::recommend`] for several users.
    ///
    /// Cost: less than one by one where the artefact has factors of many items and no rules order the list; otherwise the same.
    pub fn recommend_each(&self, asked: &[(&[HistoryItem], RankRequest<'_>)]) -> Vec<RankedList> {
        let alone = |(history, request): &(&[HistoryItem], RankRequest<'_>)| self.recommend(history, request);
        match self.shareable() {
            Some((rows, index)) if self.is_plain() => self.shared(rows, index, asked),
            Some(_) | None => asked.iter().map(alone).collect(),
        }
    }

    fn shared(
        &self,
        rows: FactorRows<'_>,
        index: &FactorIndex,
        asked: &[(&[HistoryItem], RankRequest<'_>)],
    ) -> Vec<RankedList> {
        let weighed: Vec<WeighedHistory> = asked.iter().map(|(history, _)| self.weigh(history)).collect();
        let factor = |weighed: &WeighedHistory| match weighed.is_empty() {
            true => None,
            false => self.artefact().scorer().fold_in(weighed),
        };
        let users: Vec<Option<Vec<f32>>> = weighed.iter().map(factor).collect();
        let shown: Vec<ItemSet> =
            asked.iter().map(|(history, request)| self.hidden(history, request).complement()).collect();
        let queries: Vec<(&[f32], &ItemSet, usize)> = users
            .iter()
            .zip(&shown)
            .zip(asked)
            .filter_map(|((user, shown), (_, request))| Some((user.as_deref()?, shown, request.limit)))
            .collect();
        let mut found = index.best_of_each(rows, &queries).into_iter();
        let mut lists = Vec::with_capacity(asked.len());
        for (((history, request), weighed), user) in asked.iter().zip(&weighed).zip(&users) {
            let ranked = user.as_ref().and_then(|_| found.next());
            lists.push(self.list(history, weighed, |_| ranked, request));
        }
        lists
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::Provenance;

    use super::*;
    use crate::{
        IalsParameters, InteractionRow, Interactions, Parameters, PopularityParameters, RecommenderKind, train,
    };

    #[test]
    fn together_they_get_the_lists_of_one_by_one() {
        let row = |place: i64| InteractionRow {
            user: format!("u{}", place % 97),
            item: format!("i{}", place * place % 1_361),
            at: place,
            weight: 1.0,
            basket: None,
        };
        let (interactions, rejected) = Interactions::from_rows((0..4_000).map(row));
        assert!(rejected.is_empty());
        let artefact = |parameters| train(&interactions, &parameters, 1, Provenance::default()).unwrap();
        let popularity = artefact(Parameters::Popularity(PopularityParameters::default()));
        let ials = Parameters::Ials(IalsParameters { factors: 12, epochs: 2, ..Default::default() });
        for parameters in [ials, Parameters::defaults(RecommenderKind::ItemKnn)] {
            let ranker = Ranker::new(Arc::new(artefact(parameters)), &popularity).unwrap().with_index(true);
            let every_third = ItemSet::of(ranker.items().len(), |item| item % 3 == 0);
            let histories: Vec<Vec<HistoryItem>> = (0..97u32)
                .map(|user| interactions.history(user).iter().map(HistoryItem::from).take(user as usize % 9).collect())
                .collect();
            let request = |user: usize| {
                let hidden = user.is_multiple_of(2).then_some(&every_third);
                RankRequest { hidden, exclude_seen: !user.is_multiple_of(5), ..RankRequest::new(1 + user % 30) }
            };
            let asked: Vec<(&[HistoryItem], RankRequest<'_>)> =
                histories.iter().enumerate().map(|(user, history)| (history.as_slice(), request(user))).collect();
            let one_by_one: Vec<RankedList> =
                asked.iter().map(|(history, request)| ranker.recommend(history, request)).collect();
            assert_eq!(ranker.recommend_each(&asked), one_by_one);
        }
    }
}
