//! CSV as RFC 4180 has it: lines end with CR LF, and what holds a comma, a quote or an end of a line is quoted.
//!
//! Spreadsheets take a text that begins like a formula for one, and run it. Pages choose identifiers, metadata and
//! their own addresses, so every text that begins like that gets an apostrophe before it, which spreadsheets take for
//! "this is text". NDJSON has all texts as they are.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;

/// With what a text begins that some spreadsheet takes for a formula.
const FORMULAS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Something that is a line of a table.
pub(crate) trait Row: Serialize {
    /// Writes the names of the columns.
    fn columns(line: &mut Line<'_>);

    /// Writes what stands in them, in the same order.
    fn cells(&self, line: &mut Line<'_>);
}

/// A line that is being written.
pub(crate) struct Line<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

/// Writes a line.
pub(crate) fn line(out: &mut Vec<u8>, write: impl FnOnce(&mut Line<'_>)) {
    write(&mut Line { out, is_empty: true });
    out.extend_from_slice(b"\r\n");
}

impl Line<'_> {
    /// A text, which may come from anybody.
    pub(crate) fn text(&mut self, text: &str) {
        self.separate();
        let guard = if text.starts_with(FORMULAS) { "'" } else { "" };
        if text.contains([',', '"', '\r', '\n']) {
            let quoted = text.replace('"', "\"\"");
            // Writing into memory does not fail.
            let _ = write!(self.out, "\"{guard}{quoted}\"");
        } else {
            let _ = write!(self.out, "{guard}{text}");
        }
    }

    /// Names of columns.
    pub(crate) fn names(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.text(name));
    }

    /// A number.
    pub(crate) fn number(&mut self, number: impl fmt::Display) {
        self.separate();
        let _ = write!(self.out, "{number}");
    }

    /// What is not there.
    pub(crate) fn nothing(&mut self) {
        self.separate();
    }

    /// A text that may not be there.
    pub(crate) fn maybe_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.nothing(),
        }
    }

    /// A number that may not be there.
    pub(crate) fn maybe_number(&mut self, number: Option<impl fmt::Display>) {
        match number {
            Some(number) => self.number(number),
            None => self.nothing(),
        }
    }

    fn separate(&mut self) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut out = Vec::new();
        line(&mut out, |line| line.text(text));
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\r\n"), "{text:?}");
    }

    #[test]
    fn what_would_break_a_line_is_quoted() {
        check("", "");
        check("intro", "intro");
        check("a,b", "\"a,b\"");
        check("a \"b\"", "\"a \"\"b\"\"\"");
        check("a\nb", "\"a\nb\"");
        check("a\rb", "\"a\rb\"");
        check("{\"a\":1}", "\"{\"\"a\"\":1}\"");
    }

    #[test]
    fn what_begins_like_a_formula_is_none() {
        check("=1+1", "'=1+1");
        check("+1", "'+1");
        check("-1", "'-1");
        check("@SUM(A1)", "'@SUM(A1)");
        check("\t=1", "'\t=1");
        check("\r=1", "\"'\r=1\"");
        check("=HYPERLINK(\"http://a\",\"b\")", "\"'=HYPERLINK(\"\"http://a\"\",\"\"b\"\")\"");
        // In the middle of a text they do no harm.
        check("a=1", "a=1");
        check("'tis", "'tis");
    }

    #[test]
    fn what_is_not_there_leaves_its_place_empty() {
        let mut out = Vec::new();
        line(&mut out, |line| {
            line.nothing();
            line.number(1.5);
            line.maybe_text(None);
            line.maybe_number(Some(2));
        });
        line(&mut out, |_| {});
        assert_eq!(String::from_utf8(out).unwrap(), ",1.5,,2\r\n\r\n");
    }
}
