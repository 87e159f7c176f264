//! Removes the parts of scripts and styles that only serve their readers. The build script uses it too.

/// Removes comments of whole lines, indentation and empty lines.
pub(crate) fn minify(text: &str) -> String {
    let is_code = |line: &&str| {
        let is_comment = line.starts_with("//") || line.starts_with("/*") && line.ends_with("*/");
        !is_comment && !line.is_empty()
    };
    text.lines().map(str::trim).filter(is_code).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_indentation_are_removed() {
        let text = "// Why.\n\n  a(b); // c\n/* One line. */\n/** Two\n * lines. */\n";
        assert_eq!(minify(text), "a(b); // c\n/** Two\n* lines. */\n");
    }
}
