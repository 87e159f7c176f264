//! The part of `--help` that describes settings.

use super::setting::About;
use super::table::SETTINGS;

/// The width of a line, in characters.
const WIDTH: usize = 96;

const INDENT: &str = "          ";

/// Describes the settings that a command takes.
pub(super) fn settings_of(command: &str) -> String {
    let settings = SETTINGS.iter().filter(|about| about.is_of(command));
    let mut text =
        "Settings, by flag or environment variable; a flag wins over its variable:".to_owned();
    for about in settings {
        text.push_str("\n  ");
        text.push_str(&names_of(about));
        wrap(&mut text, about);
    }
    text
}

/// Like `--listen <ADDRESS:PORT>, METRICS_LISTEN`.
fn names_of(about: &About) -> String {
    let value = if about.is_switch() { String::new() } else { format!(" <{}>", about.value) };
    let flag = format!("{}{value}", about.flag);
    let names = [flag.as_str(), about.variable];
    names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(", ")
}

/// Adds lines with the text of a setting and its default.
fn wrap(text: &mut String, about: &About) {
    let default = match about.default.text() {
        "" => String::new(),
        default => format!("[default: {default}]"),
    };
    let mut words: Vec<_> = about.help.split(' ').collect();
    // On one line, if there is room.
    if INDENT.len() + default.len() <= WIDTH {
        words.extend(Some(&*default).filter(|default| !default.is_empty()));
    } else {
        words.extend(default.split(' '));
    }
    let mut column = WIDTH;
    for word in words {
        let length = word.chars().count();
        if WIDTH < column + 1 + length {
            text.push('\n');
            text.push_str(INDENT);
            column = INDENT.len() + length;
        } else {
            text.push(' ');
            column += 1 + length;
        }
        text.push_str(word);
    }
}
