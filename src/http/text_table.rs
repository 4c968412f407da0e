//! Text tables for a terminal, with aligned columns. Characters in cells that a terminal would interpret, or
//! that would disguise the content of a line, are written out.

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

/// A response body that has both formats.
pub(super) trait ToText: Serialize {
    fn text(&self) -> String;
}

/// Cells wider than this overflow their column, so that they do not widen it for all rows.
const MAX_COLUMN_WIDTH: usize = 60;
const GAP: usize = 2;

/// Stands for an absent value.
pub(super) const NOTHING: &str = "-";

/// A table under construction. It has no `Debug`, since cells contain attribute values.
pub(super) struct TextTable {
    rows: Vec<Vec<String>>,
}

impl TextTable {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).into()] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(plain).into());
    }

    pub(super) fn finish(self) -> String {
        aligned(&self.rows)
    }
}

/// Names and values, one line each.
pub(super) fn facts<const N: usize>(facts: [(&str, &str); N]) -> String {
    let rows = facts.map(|(name, fact)| vec![name.to_owned(), plain(fact)]);
    aligned(&rows)
}

/// Warnings, one line each.
pub(super) fn warnings(warnings: &[String]) -> String {
    let lines = warnings.iter().map(|warning| ["\nwarning: ", &plain(warning), "\n"].concat());
    lines.collect()
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let fits = |cell: &String| Some(cell.width()).filter(|width| *width <= MAX_COLUMN_WIDTH);
    let width = |column| rows.iter().filter_map(|row| fits(row.get(column)?)).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            // The last cell gets no trailing spaces.
            if column + 1 < row.len() {
                let rest = width.saturating_sub(cell.width()) + GAP;
                text.extend(std::iter::repeat_n(' ', rest));
            }
        }
        text.push('\n');
    }
    text
}

/// Text that is safe on a terminal. Control and formatting characters are escaped, and so are
/// backslashes, so that the escaped text is unambiguous.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' | '\\' => shown.extend(character.escape_default()),
            other if is_unsafe(other) => shown.extend(other.escape_unicode()),
            other => shown.push(other),
        }
    }
    shown
}

/// Characters that control a terminal, change the direction of a line, or are invisible. Joiners
/// are kept, since scripts and emoji need them.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}' | '\u{200e}' | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(rows: &[[&str; 3]]) -> String {
        let mut table = TextTable::new(["A", "BB", "C"]);
        for row in rows {
            table.row(*row);
        }
        table.finish()
    }

    #[test]
    fn columns_align_with_wide_and_combined_letters() {
        let text = table(&[["1", "x", "end"], ["日本", "e\u{301}", "end"], ["👍", "", "end"]]);
        let expected = "A     BB  C\n1     x   end\n日本  e\u{301}   end\n👍        end\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn one_long_cell_does_not_push_the_others_aside() {
        let long = "k".repeat(MAX_COLUMN_WIDTH + 1);
        let text = table(&[["1", "2", "3"], [&long, "2", "3"]]);
        assert_eq!(text, format!("A  BB  C\n1  2   3\n{long}  2   3\n"));
    }

    #[test]
    fn terminal_control_characters_are_escaped() {
        assert_eq!(plain("a\u{1b}[31mb\u{7}\u{9b}"), r"a\u{1b}[31mb\u{7}\u{9b}");
        assert_eq!(plain("x\u{202e}y\u{200b}\r\n\t"), r"x\u{202e}y\u{200b}\r\n\t");
        assert_eq!(
            (plain(r"C:\new"), plain("Zoë 👩\u{200d}🚀")),
            (r"C:\\new".into(), "Zoë 👩\u{200d}🚀".into())
        );
    }

    #[test]
    fn invisible_characters_are_escaped() {
        let invisible =
            "\u{115f}\u{1160}\u{3164}\u{ffa0}\u{34f}\u{17b4}\u{17b5}\u{e0100}\u{e01ef}\u{180b}";
        for character in invisible.chars() {
            let expected = format!("a\\u{{{:x}}}b", u32::from(character));
            assert_eq!(plain(&format!("a{character}b")), expected);
        }
        assert_eq!(plain("❤\u{fe0f}"), "❤\u{fe0f}", "it selects the emoji form");
    }

    proptest! {
        #[test]
        fn every_row_is_one_line_aligned_with_its_heading(
            rows in proptest::collection::vec((".{0,12}", ".{0,12}", ".{0,12}"), 0..8),
        ) {
            let cells: Vec<[&str; 3]> = rows.iter().map(|(a, b, c)| [&**a, &**b, &**c]).collect();
            let text = table(&cells);
            prop_assert!(text.chars().all(|character| character == '\n' || !is_unsafe(character)));
            let lines: Vec<_> = text.lines().collect();
            prop_assert_eq!(lines.len(), rows.len() + 1);
            let begins = lines[0].find("BB").expect("a heading");
            for (line, [first, second, _]) in lines[1..].iter().zip(cells) {
                let first = plain(first);
                if first.width() <= MAX_COLUMN_WIDTH {
                    let rest = line.strip_prefix(first.as_str()).expect("its first cell");
                    let spaces = begins - first.width();
                    prop_assert!(rest[spaces..].starts_with(&plain(second)));
                    prop_assert!(rest[..spaces].bytes().all(|byte| byte == b' '));
                }
            }
        }

        #[test]
        fn different_texts_stay_different(one in ".{0,6}", two in ".{0,6}") {
            prop_assert_eq!(plain(&one) == plain(&two), one == two);
        }
    }
}
