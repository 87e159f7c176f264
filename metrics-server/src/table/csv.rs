//! CSV by RFC 4180: lines end with CR LF, and fields with a comma, a quote or a line break are quoted.
//!
//! Spreadsheets run a text that begins like a formula. Pages choose identifiers, metadata and their own URLs, so every
//! such text gets an apostrophe in front, which marks it as text for spreadsheets. NDJSON has all texts unchanged.

use std::fmt;
use std::io::Write as _;

use super::row::{Kind, Line, Sink};

/// The first characters of texts that some spreadsheet takes for a formula.
const FORMULAS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A line that is being written.
struct Csv<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

/// Writes a line.
pub(crate) fn line(out: &mut Vec<u8>, write: impl FnOnce(&mut Line<'_>)) {
    write(&mut Line::new(&mut Csv { out, is_empty: true }));
    out.extend_from_slice(b"\r\n");
}

impl Csv<'_> {
    fn separate(&mut self) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
    }

    fn number(&mut self, number: impl fmt::Display) {
        self.separate();
        // Writing into memory does not fail.
        let _ = write!(self.out, "{number}");
    }
}

impl Sink for Csv<'_> {
    fn column(&mut self, _: Kind, name: &str) {
        self.text(name);
    }

    fn text(&mut self, text: &str) {
        self.separate();
        let guard = if text.starts_with(FORMULAS) { "'" } else { "" };
        if text.contains([',', '"', '\r', '\n']) {
            let quoted = text.replace('"', "\"\"");
            let _ = write!(self.out, "\"{guard}{quoted}\"");
        } else {
            let _ = write!(self.out, "{guard}{text}");
        }
    }

    fn integer(&mut self, number: u64) {
        self.number(number);
    }

    fn double(&mut self, number: f64) {
        self.number(number);
    }

    fn nothing(&mut self) {
        self.separate();
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
    fn fields_that_would_break_a_line_are_quoted() {
        check("", "");
        check("intro", "intro");
        check("a,b", "\"a,b\"");
        check("a \"b\"", "\"a \"\"b\"\"\"");
        check("a\nb", "\"a\nb\"");
        check("a\rb", "\"a\rb\"");
        check("{\"a\":1}", "\"{\"\"a\"\":1}\"");
    }

    #[test]
    fn texts_that_begin_like_a_formula_are_escaped() {
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
    fn missing_values_leave_their_fields_empty() {
        let mut out = Vec::new();
        line(&mut out, |line| {
            line.nothing();
            line.number(1.5);
            line.maybe_text(None);
            line.maybe_number(Some(2_u32));
        });
        line(&mut out, |_| {});
        assert_eq!(String::from_utf8(out).unwrap(), ",1.5,,2\r\n\r\n");
    }
}
