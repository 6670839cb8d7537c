//! What would change in a text file, as a unified diff that a person reads and `patch` understands.
//!
//! In: a path, the text before and after.  Out: the diff; empty when nothing changes.
//! Never here: writing the file.
//! Start at [`unified`].

use std::fmt::Write as _;

/// Unchanged lines around a change, as in every diff.
const CONTEXT: usize = 3;

/// Lines between the first and the last change beyond which they are shown as one block: the table below is quadratic.
const MOST_LINES: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// `path` is relative to the project.
pub(crate) fn unified(path: &str, before: &str, after: &str) -> String {
    let lines = compare(&before.lines().collect::<Vec<_>>(), &after.lines().collect::<Vec<_>>());
    let changed: Vec<usize> = (0..lines.len()).filter(|place| !matches!(lines[*place], Line::Same(_))).collect();
    let Some(&first) = changed.first() else { return String::new() };
    let mut text = format!("--- a/{path}\n+++ b/{path}\n");
    let mut hunk = (first, first);
    for &place in &changed[1..] {
        if place - hunk.1 > 2 * CONTEXT {
            write_hunk(&mut text, &lines, hunk);
            hunk.0 = place;
        }
        hunk.1 = place;
    }
    write_hunk(&mut text, &lines, hunk);
    text
}

fn write_hunk(text: &mut String, lines: &[Line<'_>], (first, last): (usize, usize)) {
    let (from, to) = (first.saturating_sub(CONTEXT), (last + 1 + CONTEXT).min(lines.len()));
    let count = |lines: &[Line<'_>], is_left: bool| {
        lines
            .iter()
            .filter(|line| if is_left { !matches!(line, Line::New(_)) } else { !matches!(line, Line::Gone(_)) })
            .count()
    };
    let range = |is_left: bool| {
        let (before, inside) = (count(&lines[..from], is_left), count(&lines[from..to], is_left));
        // A hunk without lines on one side names the line before it.
        format!("{},{inside}", if inside == 0 { before } else { before + 1 })
    };
    let _ = writeln!(text, "@@ -{} +{} @@", range(true), range(false));
    for line in &lines[from..to] {
        let _ = match line {
            Line::Same(line) => writeln!(text, " {line}"),
            Line::Gone(line) => writeln!(text, "-{line}"),
            Line::New(line) => writeln!(text, "+{line}"),
        };
    }
}

/// The longest common subsequence of what is left between the common beginning and the common end.
fn compare<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let start = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let end =
        before[start..].iter().rev().zip(after[start..].iter().rev()).take_while(|(one, other)| one == other).count();
    let (left, right) = (&before[start..before.len() - end], &after[start..after.len() - end]);
    let mut lines: Vec<Line<'a>> = before[..start].iter().map(|line| Line::Same(line)).collect();
    if left.len().max(right.len()) > MOST_LINES {
        lines.extend(left.iter().map(|line| Line::Gone(line)));
        lines.extend(right.iter().map(|line| Line::New(line)));
    } else {
        lines.extend(align(left, right));
    }
    lines.extend(before[before.len() - end..].iter().map(|line| Line::Same(line)));
    lines
}

fn align<'a>(left: &[&'a str], right: &[&'a str]) -> Vec<Line<'a>> {
    // common[i][j]: length of the longest common subsequence of what follows i and j.
    let mut common = vec![vec![0u32; right.len() + 1]; left.len() + 1];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            common[i][j] =
                if left[i] == right[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < left.len() || j < right.len() {
        if i < left.len() && j < right.len() && left[i] == right[j] {
            lines.push(Line::Same(left[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == right.len() || (i < left.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line::Gone(left[i]));
            i += 1;
        } else {
            lines.push(Line::New(right[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_context_and_right_numbers() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n";
        let after = before.replace("b\n", "B\n").replace("l\n", "l\nm\n");
        let expected = "--- a/x\n+++ b/x\n@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -10,3 +10,4 @@\n j\n k\n l\n+m\n";
        assert_eq!(unified("x", before, &after), expected);
        assert_eq!(unified("x", before, before), "");
        assert_eq!(unified("x", "", "new\n"), "--- a/x\n+++ b/x\n@@ -0,0 +1,1 @@\n+new\n");
    }
}
