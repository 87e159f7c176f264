//! Characters that texts of other people may have where people read them: in logs, mails and terminals.

/// Whether a character shows only itself: it neither controls a terminal, nor ends a line, nor changes the direction of
/// the text around it.
pub(crate) fn is_plain(character: char) -> bool {
    let is_separator = matches!(character, '\u{2028}' | '\u{2029}');
    !character.is_control() && !is_separator && !is_bidirectional(character)
}

/// Whether a character has the property `Bidi_Control` of Unicode.
fn is_bidirectional(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_change_others_are_not_plain() {
        for character in "\0\t\n\r\u{7f}\u{85}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".chars() {
            assert!(!is_plain(character), "{character:?}");
        }
        for character in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert!(!is_plain(character), "{character:?}");
        }
        // Joiners are a part of words in some scripts, and of emoji.
        for character in "a é ×\u{200c}\u{200d}שع中👩".chars() {
            assert!(is_plain(character), "{character:?}");
        }
    }
}
