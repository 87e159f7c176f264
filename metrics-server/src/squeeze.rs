//! Shortens scripts that run on other pages: removes white space, and shortens the names of variables. The build script
//! uses it.
//!
//! It reads tokens and no grammar. A variable is renamed everywhere or nowhere, and only if no member of an object has
//! its name. So a script ends each statement with a semicolon, and no variable has the name of a global that the
//! script uses.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Words of the language that stand before a name, an object or a regular expression.
const WORDS: [&str; 42] = [
    "async",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "constructor",
    "continue",
    "default",
    "delete",
    "do",
    "else",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "get",
    "if",
    "import",
    "in",
    "instanceof",
    "let",
    "new",
    "null",
    "of",
    "return",
    "set",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "var",
    "void",
    "while",
    "yield",
];

/// Marks after which the name of a method or field stands in a class.
const BEFORE_MEMBERS: [&str; 7] = ["{", "}", ";", "async", "get", "set", "static"];

/// Marks of several characters that are read as one. Others are read as several marks.
const LONG_MARKS: [&str; 3] = ["...", "++", "--"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A name, a word of the language or a number.
    Name,
    /// A text, a regular expression, or a part of a template.
    Text,
    Mark,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

/// Shortens a script without comments.
pub(crate) fn squeeze(script: &str) -> String {
    let tokens = tokens(script);
    let short = Names::of(&tokens).shortened();
    let mut code = String::with_capacity(script.len());
    let mut last: Option<Token<'_>> = None;
    for token in tokens {
        if last.is_some_and(|last| is_apart(last, token)) {
            code.push(' ');
        }
        code.push_str(short.get(token.text).map_or(token.text, String::as_str));
        last = Some(token);
    }
    code.push('\n');
    code
}

/// Whether two tokens would be other ones without white space between them.
fn is_apart(last: Token<'_>, next: Token<'_>) -> bool {
    let is_expression = last.kind == Kind::Text && last.text.starts_with('/');
    let is_named = next.kind == Kind::Name && (last.kind == Kind::Name || is_expression);
    is_named
        || ['+', '-'].iter().any(|mark| last.text.ends_with(*mark) && next.text.starts_with(*mark))
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// Splits a script into its tokens.
fn tokens(script: &str) -> Vec<Token<'_>> {
    let bytes = script.as_bytes();
    let mut tokens: Vec<Token<'_>> = Vec::new();
    // For each template around this place, the number of open braces in it.
    let mut templates: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        let kind = match byte {
            _ if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ if is_of_name(byte) => {
                at += bytes[at..].iter().take_while(|byte| is_of_name(**byte)).count();
                Kind::Name
            }
            b'\'' | b'"' => {
                at = end_of(bytes, at + 1, |rest| rest[0] == byte);
                Kind::Text
            }
            b'/' if tokens.last().is_none_or(begins_expression) => {
                at = end_of_expression(bytes, at + 1);
                Kind::Text
            }
            b'`' | b'}' if byte == b'`' || templates.last() == Some(&0) => {
                if byte == b'}' {
                    templates.pop();
                }
                at = end_of(bytes, at + 1, |rest| rest[0] == b'`' || rest.starts_with(b"${"));
                if bytes.get(at) == Some(&b'{') && bytes[at - 1] == b'$' {
                    at += 1;
                    templates.push(0);
                }
                Kind::Text
            }
            _ => {
                let known = LONG_MARKS.into_iter().find(|mark| script[at..].starts_with(*mark));
                at += known.map_or(1, str::len);
                match (byte, templates.last_mut()) {
                    (b'{', Some(open)) => *open += 1,
                    (b'}', Some(open)) => *open -= 1,
                    _ => {}
                }
                Kind::Mark
            }
        };
        at = at.min(bytes.len());
        tokens.push(Token { kind, text: &script[start..at] });
    }
    tokens
}

/// Returns the index after the first byte that is not escaped and at which `is_end` is true.
fn end_of(bytes: &[u8], mut at: usize, is_end: impl Fn(&[u8]) -> bool) -> usize {
    while at < bytes.len() && !is_end(&bytes[at..]) {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The index after a regular expression, with its flags. A slash in brackets does not end it.
fn end_of_expression(bytes: &[u8], mut at: usize) -> usize {
    let mut is_in_brackets = false;
    while at < bytes.len() && (bytes[at] != b'/' || is_in_brackets) {
        match bytes[at] {
            b'\\' => at += 1,
            b'[' => is_in_brackets = true,
            b']' => is_in_brackets = false,
            _ => {}
        }
        at += 1;
    }
    at += 1;
    at + bytes.iter().skip(at).take_while(|byte| is_of_name(**byte)).count()
}

/// Whether a slash after this token begins a regular expression. Otherwise it divides.
fn begins_expression(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Name => WORDS.contains(&token.text) && token.text != "this",
        Kind::Text => token.text.ends_with("${"),
        Kind::Mark => ![")", "]", "}"].contains(&token.text),
    }
}

/// The names in a script, by their use. A name may have several.
#[derive(Debug, Default)]
struct Names<'a> {
    /// The number of uses of every name.
    uses: BTreeMap<&'a str, usize>,
    /// Names of variables, parameters and classes.
    variables: BTreeSet<&'a str>,
    /// Names of members, or what looks like one.
    members: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(tokens: &[Token<'a>]) -> Self {
        let mut names = Self::default();
        // The tokens that open the brackets around this place.
        let mut open: Vec<usize> = Vec::new();
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        for (at, token) in tokens.iter().enumerate() {
            // A part of a template begins or ends like this as well.
            let closes = [")", "]"].contains(&token.text) || token.text.starts_with('}');
            let opens = ["(", "[", "{"].contains(&token.text) || token.text.ends_with("${");
            if closes {
                let start = open.pop().unwrap_or(0);
                let before = start.checked_sub(1).map_or("", text);
                let is_list = match token.text {
                    "]" => ["const", "let"].contains(&before),
                    ")" if text(at + 1) == "{" => {
                        !is_word_or_number(before) || before == "constructor"
                    }
                    ")" => text(at + 1) == "=" && text(at + 2) == ">",
                    _ => false,
                };
                if is_list {
                    names.declare(&tokens[start..at]);
                }
            }
            if opens {
                open.push(at);
            }
            if token.kind != Kind::Name || is_word_or_number(token.text) {
                continue;
            }
            *names.uses.entry(token.text).or_default() += 1;
            let before = at.checked_sub(1).map_or("", text);
            let is_exported = 2 <= at && text(at - 2) == "export";
            let is_rest = before == "..." && text(at + 1) == "}" && text(at + 2) == "=";
            if is_rest || ["const", "let", "class"].contains(&before) && !is_exported {
                names.variables.insert(token.text);
            }
            let around = open.last().map_or("", |at| text(*at));
            let is_listed = ["{", ","].contains(&before);
            let is_member = match text(at + 1) {
                _ if before == "." || is_exported => true,
                ":" => is_listed,
                "," | "}" => is_listed && around == "{",
                "=" => is_listed && around == "{" || BEFORE_MEMBERS.contains(&before),
                "(" | ";" => BEFORE_MEMBERS.contains(&before),
                _ => false,
            };
            if is_member {
                names.members.insert(token.text);
            }
        }
        names
    }

    /// Adds the variables of a list of parameters, or of a pattern in brackets.
    fn declare(&mut self, tokens: &[Token<'a>]) {
        for pair in tokens.windows(2) {
            let is_listed = ["(", "[", ",", "..."].contains(&pair[0].text);
            if is_listed && pair[1].kind == Kind::Name && !is_word_or_number(pair[1].text) {
                self.variables.insert(pair[1].text);
            }
        }
    }

    /// A short name for each variable, the shortest for those that are used most.
    fn shortened(&self) -> BTreeMap<&'a str, String> {
        let mut variables: Vec<_> = self.variables.difference(&self.members).copied().collect();
        variables.sort_by_key(|name| Reverse(self.uses.get(name)));
        let letters = || ('a'..='z').chain('A'..='Z');
        let single = letters().map(String::from);
        let pairs =
            letters().flat_map(|one| letters().map(move |two| String::from_iter([one, two])));
        let is_free = |name: &String| !self.uses.contains_key(&**name) && !WORDS.contains(&&**name);
        variables.into_iter().zip(single.chain(pairs).filter(is_free)).collect()
    }
}

fn is_word_or_number(text: &str) -> bool {
    WORDS.contains(&text) || text.starts_with(|it: char| it.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minify::minify;

    const SCRIPT: &str = include_str!("script/metrics.js");

    /// The globals of browsers that the script uses.
    const GLOBALS: &str = "Array Infinity JSON Map Math MutationObserver Object Set URL URLSearchParams Uint32Array \
        WeakSet WebSocket console crypto customElements encodeURIComponent navigator performance self setTimeout \
        undefined";

    #[test]
    fn white_space_and_long_names_are_removed() {
        for (script, expected) in [
            ("const long = 1;\nf(long + ++long - -long);\n", "const a=1;f(a+ ++a- -a);\n"),
            // Members keep their names, and so do variables that are called like one.
            ("const { one, two: three } = it;\n", "const{one,two:three}=it;\n"),
            ("const one = 1;\nit.one = { two: one };\n", "const one=1;it.one={two:one};\n"),
            ("class Long {\n  field = 1;\n  go() {}\n}\n", "class a{field=1;go(){}}\n"),
            (
                "const field = () => this[it].go;\nclass A {\n  field = 2;\n}\n",
                "const field=()=>this[it].go;class a{field=2;}\n",
            ),
            (
                "export const metrics = 1;\nexport const { monitor } = metrics;\n",
                "export const metrics=1;export const{monitor}=metrics;\n",
            ),
            // Parameters.
            (
                "(long, { one, ...rest }, [other] = two) => long(one, rest, other);\n",
                "(a,{one,...c},[b]=two)=>a(one,c,b);\n",
            ),
            (
                "class A {\n  go(long = 1) {\n    if (it) {\n      f(long);\n    }\n  }\n}\n",
                "class b{go(a=1){if(it){f(a);}}}\n",
            ),
            ("const [long, other] = two;\n", "const[a,b]=two;\n"),
            // Texts, templates and regular expressions are as they were.
            ("const long = 'long  it\\'s';\n", "const a='long  it\\'s';\n"),
            (
                "const long = `long ${ long + { a: `b ${ long }` }.a } }  `;\n",
                "const b=`long ${b+{a:`b ${b}`}.a} }  `;\n",
            ),
            ("const long = /a b[/' ]\\/ /g in c;\n", "const a=/a b[/' ]\\/ /g in c;\n"),
            ("const long = d / e / 2;\nreturn /e  /;\n", "const a=d/e/2;return/e  /;\n"),
        ] {
            assert_eq!(squeeze(script), expected);
        }
    }

    #[test]
    fn the_script_changes_in_its_names_only() {
        let before = minify(SCRIPT);
        let after = squeeze(&before);
        let (before, after) = (tokens(&before), tokens(&after));
        assert_eq!(before.len(), after.len());
        let (mut names, mut back) = (BTreeMap::new(), BTreeMap::new());
        for (old, new) in before.iter().zip(&after) {
            assert_eq!(old.kind, new.kind, "{old:?} {new:?}");
            assert!(old.text == new.text || old.kind == Kind::Name, "{old:?} {new:?}");
            assert_eq!(*names.entry(old.text).or_insert(new.text), new.text, "{old:?}");
            assert_eq!(*back.entry(new.text).or_insert(old.text), old.text, "{new:?}");
        }
    }

    /// A variable with the name of a global would rename the global as well.
    #[test]
    fn no_variable_of_the_script_is_called_like_a_global() {
        let script = minify(SCRIPT);
        let names = Names::of(&tokens(&script));
        let is_known =
            |name: &&str| names.variables.contains(*name) || names.members.contains(*name);
        let others: Vec<_> = names.uses.into_keys().filter(|name| !is_known(name)).collect();
        assert_eq!(others.join(" "), GLOBALS);
    }
}
