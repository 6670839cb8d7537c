//! A small text table: columns as wide as they need to be on a screen, numbers to the right.
//!
//! In: a header and rows of text.  Out: lines.
//! Never here: terminals, colours.
//! Start at [`Table`].

use unicode_width::UnicodeWidthStr;

/// Widest cell, in screen columns; more is cut with `…`, because one long text must not push the others away.
const MAX_WIDTH: usize = 60;
const GAP: &str = "  ";

/// Rows to print.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<String>,
    is_number: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that begins with `#` is a column of numbers (and loses the sign).
    pub fn new(columns: &[&str]) -> Self {
        let is_number = columns.iter().map(|name| name.starts_with('#')).collect();
        let header = columns.iter().map(|name| name.trim_start_matches('#').to_owned()).collect();
        Self { header, is_number, rows: Vec::new() }
    }

    /// A table whose columns are known by name and kind only at run time.
    pub fn with_kinds(columns: impl IntoIterator<Item = (String, bool)>) -> Self {
        let (header, is_number) = columns.into_iter().unzip();
        Self { header, is_number, rows: Vec::new() }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| fit(cell)).collect());
    }

    /// Header, rule and rows, each ending in a newline, without spaces at line ends.
    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.width()).chain([self.header[column].width()]).max().unwrap_or(0)
            })
            .collect();
        let mut text = self.line(&self.header, &widths);
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        text.push_str(&self.line(&rule, &widths));
        for row in &self.rows {
            text.push_str(&self.line(row, &widths));
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, width) in widths.iter().enumerate() {
            let cell = cells.get(column).map_or("", String::as_str);
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if column > 0 {
                line.push_str(GAP);
            }
            if self.is_number[column] {
                line.push_str(&padding);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&padding);
            }
        }
        format!("{}\n", line.trim_end())
    }
}

/// One line of at most [`MAX_WIDTH`], without control characters, so that data cannot steer the terminal.
fn fit(cell: &str) -> String {
    let clean: String = cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.width() <= MAX_WIDTH {
        return clean;
    }
    let mut cut = String::new();
    for character in clean.chars() {
        if cut.width() + character.to_string().width() > MAX_WIDTH - 1 {
            break;
        }
        cut.push(character);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_and_numbers_line_up() {
        let mut table = Table::new(&["item", "#sold"]);
        table.row(vec!["찻잔".into(), "1,204".into()]);
        table.row(vec!["cup\u{1b}[31m".into(), "7".into()]);
        assert_eq!(table.render(), "item       sold\n────────  ─────\n찻잔      1,204\ncup [31m      7\n");
    }

    #[test]
    fn a_long_cell_is_cut() {
        let mut table = Table::new(&["text"]);
        table.row(vec!["x".repeat(100)]);
        assert!(table.render().lines().all(|line| line.width() <= MAX_WIDTH));
    }
}
