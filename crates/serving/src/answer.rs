//! Writes answers as JSON bytes, from parts that were encoded when the snapshot was loaded.
//!
//! In: a ranked list and its snapshot.  Out: the body.  Shapes: [`for_user`] and [`for_item`].
//! Why by hand: encoding 20 items per request cost 44 % of a served request (measured); titles and ids never change
//! within a snapshot.
//! Never here: choosing items.
//! Start at [`for_user`].

use domain::{FeedHeader, ItemId, Promotion, UserId};
use recommend::{ItemSource, ListSource, RankedItem, RankedList, Ranker, Thing, WhyNot};

use crate::query::ListQuery;
use crate::snapshot::{Reason, Snapshot};

/// Room for an item with a title and three reasons: the answer is written without growing.
const BYTES_PER_ITEM: usize = 420;

/// `{user_id, recommender, artefact, catalog, feed, source: personal|profile|segment|popularity, reason, items: [{item_id, title, score,
/// rank, source, because: [{item_id, title, share}]}]}`; in `because` a thing of an indicator is `{indicator, thing, title, share}`,
/// with the title of the item that it names, if it names one; an item has a `propensity` where places are given away by lot; `because` only with `explain`, `reason` may be null.
pub(crate) fn for_user(
    snapshot: &Snapshot,
    user: &UserId,
    (list, reason): &(RankedList, Option<Reason>),
    query: &ListQuery,
) -> Vec<u8> {
    let source = match list.source {
        ListSource::Personal => "personal",
        ListSource::Profile => "profile",
        ListSource::Segment => "segment",
        ListSource::Popularity => "popularity",
    };
    write_list(snapshot, ("user_id", user.as_str()), source, *reason, list, query)
}

/// As [`for_user`], with `item_id` for `user_id`, `source: recommender|popularity`, and never a `because`.
pub(crate) fn for_item(
    snapshot: &Snapshot,
    item: &ItemId,
    (list, reason): &(RankedList, Option<Reason>),
    query: &ListQuery,
) -> Vec<u8> {
    let source = match list.source {
        ListSource::Personal => "recommender",
        // Nobody asks: likeness is the item's.
        ListSource::Profile | ListSource::Segment | ListSource::Popularity => "popularity",
    };
    write_list(
        snapshot,
        ("item_id", item.as_str()),
        source,
        *reason,
        list,
        &ListQuery { explain: false, ..query.clone() },
    )
}

/// `{user_id, item_id, title, recommender, artefact, catalog, feed, stage, rank, score}`; rank and score may be null.
pub(crate) fn for_why_not(snapshot: &Snapshot, user: &UserId, item: &ItemId, why: WhyNot) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES_PER_ITEM);
    out.extend_from_slice(b"{\"user_id\":");
    push_json(&mut out, user.as_str());
    out.push(b',');
    let ordinal = snapshot.ranker().ordinal(item).unwrap_or(Ranker::UNKNOWN_ITEM);
    out.extend_from_slice(snapshot.item_json(ordinal));
    out.push(b',');
    out.extend_from_slice(snapshot.origin_json());
    out.extend_from_slice(b",\"stage\":");
    push_json(&mut out, &why.stage);
    out.extend_from_slice(b",\"rank\":");
    push_json(&mut out, &why.rank);
    out.extend_from_slice(b",\"score\":");
    push_json(&mut out, &why.score);
    out.push(b'}');
    out
}

/// `"item_id":…,"title":…`
pub(crate) fn item_json(id: &ItemId, title: Option<&str>) -> Box<[u8]> {
    let mut out = Vec::new();
    out.extend_from_slice(b"\"item_id\":");
    push_json(&mut out, id.as_str());
    out.extend_from_slice(b",\"title\":");
    push_json(&mut out, &title);
    out.into_boxed_slice()
}

/// `"indicator":…,"thing":…,"title":…`
pub(crate) fn thing_json(thing: &Thing, title: Option<&str>) -> Box<[u8]> {
    let mut out = Vec::new();
    out.extend_from_slice(b"\"indicator\":");
    push_json(&mut out, &thing.indicator);
    out.extend_from_slice(b",\"thing\":");
    push_json(&mut out, &thing.thing);
    out.extend_from_slice(b",\"title\":");
    push_json(&mut out, &title);
    out.into_boxed_slice()
}

/// `"recommender":…,"artefact":…,"catalog":…,"feed":…`
pub(crate) fn origin_json(promotion: &Promotion, feed: &FeedHeader) -> Box<[u8]> {
    let mut out = Vec::new();
    out.extend_from_slice(b"\"recommender\":");
    push_json(&mut out, &promotion.recommender);
    out.extend_from_slice(b",\"artefact\":");
    push_json(&mut out, &promotion.artefact);
    out.extend_from_slice(format!(",\"catalog\":{},\"feed\":{}", feed.catalog, feed.feed).as_bytes());
    out.into_boxed_slice()
}

fn write_list(
    snapshot: &Snapshot,
    (subject, id): (&str, &str),
    source: &str,
    reason: Option<Reason>,
    list: &RankedList,
    query: &ListQuery,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + id.len() + list.items.len() * BYTES_PER_ITEM);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(subject.as_bytes());
    out.extend_from_slice(b"\":");
    push_json(&mut out, id);
    out.push(b',');
    out.extend_from_slice(snapshot.origin_json());
    out.extend_from_slice(b",\"source\":");
    push_json(&mut out, source);
    out.extend_from_slice(b",\"reason\":");
    push_json(&mut out, &reason.map(Reason::as_str));
    out.extend_from_slice(b",\"items\":[");
    for (position, item) in list.items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_item(&mut out, snapshot, item, position + 1, query.explain);
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_item(out: &mut Vec<u8>, snapshot: &Snapshot, item: &RankedItem, rank: usize, explain: bool) {
    out.push(b'{');
    out.extend_from_slice(snapshot.item_json(item.item));
    out.extend_from_slice(b",\"score\":");
    push_json(out, &item.score);
    out.extend_from_slice(b",\"rank\":");
    push_json(out, &rank);
    out.extend_from_slice(match item.source {
        ItemSource::Recommender => b",\"source\":\"recommender\"",
        ItemSource::Segment => b",\"source\":\"segment\"",
        ItemSource::Popularity => b",\"source\":\"popularity\"",
    });
    if let Some(propensity) = item.propensity {
        out.extend_from_slice(b",\"propensity\":");
        push_json(out, &propensity);
    }
    if explain {
        out.extend_from_slice(b",\"because\":[");
        for (position, part) in item.because.iter().enumerate() {
            out.extend_from_slice(if position > 0 { b",{" } else { b"{" });
            out.extend_from_slice(snapshot.item_json(part.item));
            out.extend_from_slice(b",\"share\":");
            push_json(out, &part.share);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn push_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Texts and numbers always have a JSON form, and a vector takes every byte.
    let _ = serde_json::to_writer(out, value);
}
