//! Parts of a table by ranges of its primary key, each read and retried alone.
//!
//! In: borders, which are SQL literals of the key's columns.  Out: [`KeyRange`]s that hold each row once, and their conditions.
//! Borders compare as the server compares them, so any order of the key (collation, sign, type) is right as long as it is total.
//! Never here: where borders come from (`sources`).
//! Start at [`ranges_between`].

/// Literals of the key's columns, quoted for SQL by who made them.
pub(crate) type Border = Vec<String>;

/// The rows from `lower` (inclusive) to `upper` (exclusive) in the order of the key; without a border, to the end of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) lower: Option<Border>,
    pub(crate) upper: Option<Border>,
}

/// The ranges that `borders`, in the key's order, cut a table into.
pub(crate) fn ranges_between(borders: &[Border]) -> Vec<KeyRange> {
    let lower = std::iter::once(None).chain(borders.iter().cloned().map(Some));
    let upper = borders.iter().cloned().map(Some).chain(std::iter::once(None));
    lower.zip(upper).map(|(lower, upper)| KeyRange { lower, upper }).collect()
}

/// `parts - 1` borders that cut `samples`, which are sorted and distinct, into parts of equal size; fewer when there are few.
pub(crate) fn quantiles(samples: &[Border], parts: usize) -> Vec<Border> {
    let mut borders: Vec<Border> = Vec::new();
    for part in 1..parts {
        let Some(border) = samples.get(part * samples.len() / parts) else { break };
        if borders.last() != Some(border) {
            borders.push(border.clone());
        }
    }
    borders
}

impl KeyRange {
    /// The condition for a server that reads an index range only from comparisons of single columns: `(a > 1 OR (a = 1 AND b >= 2))`.
    /// Empty for the whole table. `columns` are quoted.
    pub(crate) fn condition(&self, columns: &[String]) -> String {
        let lower = self.lower.as_ref().map(|border| beyond(columns, border, (">", ">=")));
        let upper = self.upper.as_ref().map(|border| beyond(columns, border, ("<", "<")));
        where_all(lower, upper)
    }

    /// The condition for a server that compares rows along an index: `(a, b) >= (1, 2)`.
    pub(crate) fn row_condition(&self, columns: &[String]) -> String {
        let row = |border: &Border, operator| format!("({}) {operator} ({})", columns.join(", "), border.join(", "));
        where_all(
            self.lower.as_ref().map(|border| row(border, ">=")),
            self.upper.as_ref().map(|border| row(border, "<")),
        )
    }
}

fn where_all(lower: Option<String>, upper: Option<String>) -> String {
    let conditions: Vec<String> = lower.into_iter().chain(upper).collect();
    if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
}

/// Lexicographic comparison, column by column: `operators` are for all columns but the last, and for the last.
fn beyond(columns: &[String], border: &Border, (before, last): (&str, &str)) -> String {
    let count = columns.len().min(border.len());
    let mut alternatives = Vec::with_capacity(count);
    for end in 0..count {
        let mut terms: Vec<String> = (0..end).map(|at| format!("{} = {}", columns[at], border[at])).collect();
        let operator = if end + 1 == count { last } else { before };
        terms.push(format!("{} {operator} {}", columns[end], border[end]));
        alternatives.push(if terms.len() == 1 { terms.remove(0) } else { format!("({})", terms.join(" AND ")) });
    }
    if alternatives.len() == 1 { alternatives.remove(0) } else { format!("({})", alternatives.join(" OR ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn border(literals: &[&str]) -> Border {
        literals.iter().map(|literal| (*literal).to_owned()).collect()
    }

    #[test]
    fn ranges_cover_everything_once() {
        let columns = ["`a`".to_owned()];
        let ranges = ranges_between(&[border(&["10"]), border(&["20"])]);
        let conditions: Vec<String> = ranges.iter().map(|range| range.condition(&columns)).collect();
        assert_eq!(conditions, [" WHERE `a` < 10", " WHERE `a` >= 10 AND `a` < 20", " WHERE `a` >= 20"]);
        assert_eq!(ranges_between(&[]), [KeyRange::default()]);
        assert_eq!(KeyRange::default().condition(&columns), "");
    }

    #[test]
    fn composite_keys_compare_column_by_column() {
        let columns = ["a".to_owned(), "b".to_owned()];
        let range = KeyRange { lower: Some(border(&["1", "'x'"])), upper: Some(border(&["2", "'y'"])) };
        assert_eq!(
            range.condition(&columns),
            " WHERE (a > 1 OR (a = 1 AND b >= 'x')) AND (a < 2 OR (a = 2 AND b < 'y'))"
        );
        assert_eq!(range.row_condition(&columns), " WHERE (a, b) >= (1, 'x') AND (a, b) < (2, 'y')");
    }

    #[test]
    fn quantiles_cut_evenly_and_never_twice_at_one_place() {
        let samples: Vec<Border> = (0..100).map(|number| vec![number.to_string()]).collect();
        assert_eq!(quantiles(&samples, 4), [border(&["25"]), border(&["50"]), border(&["75"])]);
        assert_eq!(quantiles(&samples[..2], 4), [border(&["0"]), border(&["1"])]);
        assert!(quantiles(&[], 4).is_empty());
        assert!(quantiles(&samples, 1).is_empty());
    }
}
