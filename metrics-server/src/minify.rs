//! Removes the parts of scripts and styles that only serve their readers. The build script uses it too.

/// Removes comments of whole lines, indentation and empty lines. A comment of several lines begins and ends with a line.
pub(crate) fn minify(text: &str) -> String {
    let mut in_comment = false;
    let mut code = String::with_capacity(text.len());
    for line in text.lines().map(str::trim) {
        let begins = line.starts_with("/*") && (line.ends_with("*/") || !line.contains("*/"));
        let is_comment = in_comment || begins || line.starts_with("//");
        in_comment = (in_comment || begins) && !line.ends_with("*/");
        if !is_comment && !line.is_empty() {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_indentation_are_removed() {
        let text =
            "// Why.\n\n  a(b); // c\n/* One line. */\n/** Two\n * lines. */\n/* a */ d();\n";
        assert_eq!(minify(text), "a(b); // c\n/* a */ d();\n");
    }
}
