//! Dictionaries of structured fields (RFC 8941), as players write them.

use std::borrow::Cow;
use std::fmt;

use super::InvalidRecord;

/// The longest record, in bytes. The longest value of a record is the URL of a request.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// The most keys of a record: version 2 defines some 70.
pub const KEYS_MAX: usize = 128;

/// The most items of an inner list: one per track.
const ITEMS_MAX: usize = 64;

/// A value that is no list.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// An integer, or a date.
    Integer(i64),
    /// A number with decimals.
    Decimal(f64),
    /// A text between quotes.
    String(Cow<'a, str>),
    /// A word without quotes.
    Token(Cow<'a, str>),
    /// `?0`, `?1`, or a key without a value, which is true.
    Boolean(bool),
}

/// One item of an inner list, such as `320;v`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item<'a> {
    /// The value.
    pub value: Scalar<'a>,
    /// The name of its first parameter, which is the kind of the object: `v`, `a` or `av`.
    pub label: Option<Cow<'a, str>>,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// One value.
    Scalar(Scalar<'a>),
    /// An inner list, such as `(145;v 96;a)`.
    List(Vec<Item<'a>>),
}

/// The keys of a record and their values.
///
/// The parser accepts all that RFC 8941 accepts, and all that players send: any text in strings, a comma at the end. It
/// ignores a value that it cannot read, and no other. Of a repeated key the last value counts.
///
/// ```
/// use metrics_core::cmcd::Dictionary;
///
/// let record = Dictionary::parse(r#"cid="ä",sta=p,bl=(3900;v 0;a),ttfb=oops(,bg"#)?;
/// assert_eq!(record.text("cid"), Some("ä"));
/// assert_eq!(record.text("sta"), Some("p"));
/// assert_eq!(record.integer("bl"), Some(3900));
/// assert!(record.is_true("bg") && record.get("ttfb").is_none());
/// assert_eq!(record.to_string(), r#"cid="ä",sta=p,bl=(3900;v 0;a),bg"#);
/// # Ok::<(), metrics_core::cmcd::InvalidRecord>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dictionary<'a> {
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Dictionary<'a> {
    /// Parses a record.
    ///
    /// # Errors
    ///
    /// [`InvalidRecord::TooLong`], [`InvalidRecord::TooManyKeys`], and [`InvalidRecord::Malformed`] if a key or the end
    /// of a string is missing.
    pub fn parse(text: &'a str) -> Result<Self, InvalidRecord> {
        if RECORD_BYTES_MAX < text.len() {
            return Err(InvalidRecord::TooLong);
        }
        let mut parser = Parser { text, at: 0 };
        let mut record = Self::default();
        parser.skip_spaces();
        while !parser.is_at_end() {
            let key = parser.key();
            if key.is_empty() {
                return Err(InvalidRecord::Malformed { at: parser.at });
            }
            let start = parser.at;
            let value = parser.value();
            match value.filter(|_| parser.is_at_comma()) {
                Some(value) => record.insert(key.into(), value)?,
                None => {
                    parser.at = start;
                    parser.skip_to_comma()?;
                }
            }
            if parser.take(',') {
                parser.skip_spaces();
            }
        }
        Ok(record)
    }

    /// Adds a key, or replaces its value.
    pub(super) fn insert(
        &mut self,
        key: Cow<'a, str>,
        value: Value<'a>,
    ) -> Result<(), InvalidRecord> {
        if let Some((_, old)) = self.members.iter_mut().find(|(known, _)| *known == key) {
            *old = value;
        } else if self.members.len() < KEYS_MAX {
            self.members.push((key, value));
        } else {
            return Err(InvalidRecord::TooManyKeys);
        }
        Ok(())
    }

    /// The same dictionary, with texts of its own.
    #[must_use]
    pub fn into_owned(self) -> Dictionary<'static> {
        let members = self.members.into_iter();
        Dictionary {
            members: members.map(|(key, value)| (owned(key), value.into_owned())).collect(),
        }
    }

    /// All keys with their values, in their order.
    pub(super) fn into_members(self) -> Vec<(Cow<'a, str>, Value<'a>)> {
        self.members
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.members.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// All keys and their values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.members.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// A string or a token.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Scalar(Scalar::String(text) | Scalar::Token(text)) => Some(text),
            _ => None,
        }
    }

    /// A number, also one that is written as a string. Of a list, the number of the video, or else the first.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            Value::Scalar(scalar) => scalar.number(),
            Value::List(items) => {
                let is_video = |item: &&Item<'_>| item.label.as_deref() == Some("v");
                items.iter().find(is_video).or(items.first())?.value.number()
            }
        }
    }

    /// Like [`number`](Self::number), rounded.
    #[must_use]
    pub fn integer(&self, key: &str) -> Option<i64> {
        // The cast saturates.
        self.number(key).map(|number| number.round() as i64)
    }

    /// Whether a key is there and true.
    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Value::Scalar(Scalar::Boolean(true))))
    }
}

impl Value<'_> {
    fn into_owned(self) -> Value<'static> {
        match self {
            Self::Scalar(scalar) => Value::Scalar(scalar.into_owned()),
            Self::List(items) => Value::List(
                items
                    .into_iter()
                    .map(|Item { value, label }| Item {
                        value: value.into_owned(),
                        label: label.map(owned),
                    })
                    .collect(),
            ),
        }
    }
}

impl Scalar<'_> {
    fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Integer(integer) => Scalar::Integer(integer),
            Self::Decimal(decimal) => Scalar::Decimal(decimal),
            Self::String(text) => Scalar::String(owned(text)),
            Self::Token(text) => Scalar::Token(owned(text)),
            Self::Boolean(is_true) => Scalar::Boolean(is_true),
        }
    }

    fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Integer(integer) => *integer as f64,
            Self::Decimal(decimal) => *decimal,
            Self::String(text) => text.parse().ok()?,
            Self::Token(_) | Self::Boolean(_) => return None,
        };
        number.is_finite().then_some(number)
    }
}

impl fmt::Display for Dictionary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.members.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match value {
                Value::Scalar(Scalar::Boolean(true)) => write!(f, "{comma}{key}")?,
                value => write!(f, "{comma}{key}={value}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = match self {
            Self::Scalar(scalar) => return scalar.fmt(f),
            Self::List(items) => items,
        };
        f.write_str("(")?;
        for (index, Item { value, label }) in items.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{value}")?;
            label.as_ref().map_or(Ok(()), |label| write!(f, ";{label}"))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Decimal(decimal) => {
                let digits = decimal.to_string();
                let end = if digits.contains('.') { "" } else { ".0" };
                write!(f, "{digits}{end}")
            }
            Self::String(text) => {
                write!(f, "\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Self::Token(token) => f.write_str(token),
            Self::Boolean(is_true) => write!(f, "?{}", u8::from(*is_true)),
        }
    }
}

/// Reads a text from its front.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn is_at_comma(&self) -> bool {
        self.is_at_end() || self.rest().starts_with(',')
    }

    fn take(&mut self, c: char) -> bool {
        let is_next = self.rest().starts_with(c);
        self.at += if is_next { c.len_utf8() } else { 0 };
        is_next
    }

    fn take_while(&mut self, accepts: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !accepts(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn skip_spaces(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\r'));
    }

    fn key(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '*'))
    }

    /// The value after a key, or `None` if it cannot be read.
    fn value(&mut self) -> Option<Value<'a>> {
        let value = if !self.take('=') {
            Value::Scalar(Scalar::Boolean(true))
        } else if self.take('(') {
            Value::List(self.list()?)
        } else {
            Value::Scalar(self.scalar()?)
        };
        self.label()?;
        self.skip_spaces();
        Some(value)
    }

    fn list(&mut self) -> Option<Vec<Item<'a>>> {
        let mut items = Vec::new();
        loop {
            self.skip_spaces();
            if self.take(')') {
                return Some(items);
            }
            if items.len() == ITEMS_MAX {
                return None;
            }
            let value = self.scalar()?;
            items.push(Item { value, label: self.label()? });
        }
    }

    /// Skips parameters, and returns the name of the first one. The outer `None` is a parameter that cannot be read.
    fn label(&mut self) -> Option<Option<Cow<'a, str>>> {
        let mut label = None;
        while self.take(';') {
            self.skip_spaces();
            let name = self.key();
            if name.is_empty() {
                return None;
            }
            if self.take('=') {
                self.scalar()?;
            }
            label.get_or_insert(Cow::Borrowed(name));
        }
        Some(label)
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        if self.take('"') {
            return Some(Scalar::String(self.string()?));
        }
        let word = self.take_while(|c| !matches!(c, ',' | ';' | '(' | ')' | ' ' | '\t' | '"'));
        let digits = word.strip_prefix(['-', '@']).unwrap_or(word);
        let is_number = !digits.is_empty()
            && digits.starts_with(|c: char| c.is_ascii_digit())
            && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match word {
            "?0" => Some(Scalar::Boolean(false)),
            "?1" => Some(Scalar::Boolean(true)),
            _ if is_number => {
                let number = word.strip_prefix('@').unwrap_or(word);
                let decimal = || number.parse().ok().filter(|it: &f64| it.is_finite());
                let integer = number.parse().ok().map(Scalar::Integer);
                integer.or_else(|| decimal().map(Scalar::Decimal))
            }
            _ => {
                let is_token = word.starts_with(|c: char| c.is_alphabetic() || c == '*');
                is_token.then_some(Scalar::Token(word.into()))
            }
        }
    }

    /// The rest of a string. Without its end, nothing is taken.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let rest = self.rest();
        let end = end_of_string(rest)?;
        self.at += end + 1;
        let text = &rest[..end];
        if !text.contains('\\') {
            return Some(text.into());
        }
        let mut is_escaped = false;
        let unescaped = text.chars().filter(|c| {
            is_escaped = *c == '\\' && !is_escaped;
            !is_escaped
        });
        Some(unescaped.collect())
    }

    /// Skips a value that cannot be read, up to the comma after it.
    fn skip_to_comma(&mut self) -> Result<(), InvalidRecord> {
        loop {
            self.take_while(|c| !matches!(c, ',' | '"'));
            if !self.take('"') {
                return Ok(());
            }
            let end = end_of_string(self.rest());
            self.at += end.ok_or(InvalidRecord::Malformed { at: self.at })? + 1;
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// The index of the quote that ends a string.
fn end_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    })
}
