//! Which items may be shown, boosted, or kept a place for: sets of items, and the language that describes them.
//!
//! In: what the items mart says of items, and a condition as a person writes it.  Out: an [`ItemSet`].
//! Never here: scores.
//! Start at [`Condition::parse`], then [`Catalogue::select`].

mod catalogue;
mod condition;
mod item_set;
mod words;

pub use catalogue::Catalogue;
pub use condition::{Condition, ConditionError};
pub use item_set::ItemSet;
