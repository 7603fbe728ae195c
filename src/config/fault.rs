//! What is wrong with a configuration file, and where. Faults are gathered, never thrown one by one:
//! an operator wants the whole list before the next attempt.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::tree::Index;

/// One thing that is wrong in the file, or suspicious.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fault {
    /// The file, as the operator named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The path of the key, `routes[1].path`; list positions count from 0.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// A warning never refuses the file.
    pub warning: bool,
}

impl Fault {
    /// A fault of the file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Fault {
        Fault {
            file: file.into(),
            line: 1,
            column: 1,
            key: "file".into(),
            message: message.into(),
            warning: false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            file,
            line,
            column,
            key,
            message,
            warning,
        } = self;
        let warning = if *warning { "warning: " } else { "" };
        write!(f, "{file}:{line}:{column}: {warning}{key}: {message}")
    }
}

/// The faults of one file while they are being found.
pub(super) struct Faults<'t> {
    file: &'t str,
    lines: Lines<'t>,
    index: Index<'t>,
    found: Vec<(usize, Fault)>,
    /// Keys whose value was taken out because it could not be read. What depends on them is unknown,
    /// so no second fault is made of their absence.
    unread: HashSet<String>,
}

impl<'t> Faults<'t> {
    pub(super) fn new(file: &'t str, text: &'t str, index: Index<'t>) -> Faults<'t> {
        Faults {
            file,
            lines: Lines::new(text),
            index,
            found: Vec::new(),
            unread: HashSet::new(),
        }
    }

    /// A fault of the value, or the key, that stands exactly here.
    pub(super) fn at(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let key = self.index.of_value(span);
        self.push(span.start, key, message.into(), false);
    }

    /// Like [`Faults::at`], but the file is sound all the same.
    pub(super) fn warn(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let key = self.index.of_value(span);
        self.push(span.start, key, message.into(), true);
    }

    /// A fault of a key that is not there, in the table that stands here.
    pub(super) fn under(&mut self, table: &Range<usize>, key: &str, message: impl Into<String>) {
        let key = self.child(table, key);
        self.push(table.start, key, message.into(), false);
    }

    /// The value of a key that has to be there; tells where it is neither there nor was unreadable.
    pub(super) fn required<'v, T>(
        &mut self,
        given: &'v Option<T>,
        table: &Range<usize>,
        key: &str,
        allowed: &str,
    ) -> Option<&'v T> {
        if given.is_none() && !self.is_unread(table, key) {
            self.under(table, key, format!("is missing, {allowed}"));
        }
        given.as_ref()
    }

    /// A fault of a list that is empty, unless what stood in it could not be read.
    pub(super) fn empty(&mut self, list: &Range<usize>, message: impl Into<String>) {
        if !self.is_unread_in(list) {
            self.at(list, message);
        }
    }

    /// Something stands in a list a second time.
    pub(super) fn twice(&mut self, span: &Range<usize>, what: &str) {
        let space = if what.is_empty() { "" } else { " " };
        self.at(
            span,
            format!("{what}{space}stands in the list twice, allowed is once"),
        );
    }

    /// A fault of a key that is empty or not there: told where it is, or at its table, or at the
    /// beginning of the file.
    pub(super) fn absent(&mut self, table: &str, key: &str, message: impl Into<String>) {
        let key = format!("{table}.{key}");
        let at = self
            .index
            .position(&key)
            .or_else(|| self.index.position(table))
            .unwrap_or(0);
        self.push(at, key, message.into(), false);
    }

    pub(super) fn push(&mut self, offset: usize, key: String, message: String, warning: bool) {
        let (line, column) = self.lines.position(offset);
        self.found.push((
            offset,
            Fault {
                file: self.file.into(),
                line,
                column,
                key,
                message,
                warning,
            },
        ));
    }

    /// The place of a value in the words of an operator.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.lines.position(span.start).0
    }

    pub(super) fn index(&self) -> &Index<'t> {
        &self.index
    }

    pub(super) fn set_unread(&mut self, key: String) {
        self.unread.insert(key);
    }

    /// Whether a key of this table was there and could not be read.
    pub(super) fn is_unread(&self, table: &Range<usize>, key: &str) -> bool {
        self.unread.contains(&self.child(table, key))
    }

    /// Whether anything in the list or table that stands here could not be read.
    pub(super) fn is_unread_in(&self, span: &Range<usize>) -> bool {
        self.is_unread_below(&self.index.of_value(span))
    }

    /// Whether anything at or below this path could not be read.
    pub(super) fn is_unread_below(&self, path: &str) -> bool {
        self.unread.iter().any(|key| {
            key.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    fn child(&self, table: &Range<usize>, key: &str) -> String {
        match self.index.of_value(table) {
            path if path.is_empty() => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, fault)| !fault.warning)
    }

    /// All of them, in the order of the file.
    pub(super) fn into_sorted(mut self) -> Vec<Fault> {
        self.found
            .sort_by(|(a, x), (b, y)| (a, &x.key, &x.message).cmp(&(b, &y.key, &y.message)));
        self.found.into_iter().map(|(_, fault)| fault).collect()
    }
}

/// Offsets to lines and columns.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Lines<'t> {
        let after_breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(at, _)| at + 1);
        Lines {
            text,
            starts: [0].into_iter().chain(after_breaks).collect(),
        }
    }

    /// Line and column, both from 1; the column counts characters, as editors do.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The text of a line, counted from 1.
    pub(super) fn text_of(&self, line: usize) -> &'t str {
        self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default()
    }
}

/// The word that was probably meant: at most two edits away (a swap of neighbours is one), and fewer than half
/// of its letters.
pub(super) fn nearest<'w>(given: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let given = given.to_ascii_lowercase();
    let near = words
        .into_iter()
        .map(|word| (strsim::osa_distance(&given, &word.to_ascii_lowercase()), word));
    let (edits, word) = near.min()?;
    (edits <= 2 && edits * 2 < word.chars().count().max(2)).then_some(word)
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub(super) fn one_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut quoted: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match quoted.pop() {
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} or {last}", quoted.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let lines = Lines::new("a = \"ä\" # x\r\nb\n");
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(7), (1, 7));
        assert_eq!(lines.position("a = \"ä\" # x\r\n".len()), (2, 1));
        assert_eq!(lines.position(1000), (3, 1));
        assert_eq!(lines.text_of(2), "b");
    }

    #[test]
    fn the_nearest_word_is_near() {
        for (given, want) in [
            ("lisetn", Some("listen")),
            ("listenn", Some("listen")),
            ("admn", Some("admin")),
            ("ADMIN", Some("admin")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, ["listen", "admin", "threads"]), want, "{given}");
        }
    }
}
