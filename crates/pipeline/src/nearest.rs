//! Finds the name that somebody probably meant.
//!
//! In: a name that does not exist, and those that do.  Out: the nearest one, when one is near enough.
//! Never here: where names come from.
//! Start at [`nearest`].

/// The candidate that is fewest keystrokes away, when that is at most a third of the name (and one at least).
///
/// A third catches `recomenders` and `tabel` and leaves `url` for `key` alone.
/// Distance: Damerau–Levenshtein, where swapping two neighbours is one keystroke.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Names in backticks with commas between; `nothing` when there are none. At most twelve, so that it stays readable.
pub fn list_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "nothing".to_owned(),
        count if count > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_finds_none() {
        let names = ["table", "url", "kind", "recommenders"];
        assert_eq!(nearest("tabel", names), Some("table"));
        assert_eq!(nearest("Kind", names), Some("kind"));
        assert_eq!(nearest("recomender", names), Some("recommenders"));
        assert_eq!(nearest("key", names), None);
    }
}
