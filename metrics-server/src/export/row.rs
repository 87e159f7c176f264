//! Lines of tables, whatever format they are written in.

use serde::Serialize;

/// The kind of a column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Texts.
    Text,
    /// Whole numbers from 0 on.
    Integer,
    /// Numbers.
    Double,
    /// Times as RFC 3339 has them; one without an offset is in UTC.
    Time,
}

/// Something that is a line of a table.
pub(crate) trait Row: Serialize {
    /// Names the columns.
    fn columns(line: &mut Line<'_>);

    /// Writes what stands in them, in the same order.
    fn cells(&self, line: &mut Line<'_>);
}

/// A format that takes columns and cells one by one.
pub(crate) trait Sink {
    /// The name of the next column.
    fn column(&mut self, kind: Kind, name: &str);

    /// A text, which may come from anybody.
    fn text(&mut self, text: &str);

    /// A whole number.
    fn integer(&mut self, number: u64);

    /// A number.
    fn double(&mut self, number: f64);

    /// A cell without a value.
    fn nothing(&mut self);
}

/// A number of either kind.
pub(crate) enum Number {
    Integer(u64),
    Double(f64),
}

/// A line that is being written.
pub(crate) struct Line<'a> {
    sink: &'a mut dyn Sink,
}

impl<'a> Line<'a> {
    pub(crate) fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink }
    }

    /// Names columns of one kind.
    pub(crate) fn columns(&mut self, kind: Kind, names: &[&str]) {
        names.iter().for_each(|name| self.sink.column(kind, name));
    }

    /// A text, which may come from anybody.
    pub(crate) fn text(&mut self, text: &str) {
        self.sink.text(text);
    }

    /// A number.
    pub(crate) fn number(&mut self, number: impl Into<Number>) {
        match number.into() {
            Number::Integer(number) => self.sink.integer(number),
            Number::Double(number) => self.sink.double(number),
        }
    }

    /// A cell without a value.
    pub(crate) fn nothing(&mut self) {
        self.sink.nothing();
    }

    /// A text that may not be there.
    pub(crate) fn maybe_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.nothing(),
        }
    }

    /// A number that may not be there.
    pub(crate) fn maybe_number(&mut self, number: Option<impl Into<Number>>) {
        match number {
            Some(number) => self.number(number),
            None => self.nothing(),
        }
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<&u64> for Number {
    fn from(number: &u64) -> Self {
        Self::Integer(*number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Integer(number as u64)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}
