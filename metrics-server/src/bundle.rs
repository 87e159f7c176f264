//! Joins modules of the page to one file: browsers request it at once, not one module after the other. The build script
//! uses it.
//!
//! Each module becomes a function that runs once and returns its exports, so modules may use the same names.

use std::fmt::Write as _;

/// The beginnings of the declarations that a module may export. A `let` could change after its import.
const DECLARATIONS: [&str; 4] = ["const ", "function ", "async function ", "class "];

/// Joins a module and all modules that it imports, in the order in which a browser evaluates them. `read` returns the
/// text of a module by its path.
///
/// # Errors
///
/// A text explains which import or export is not supported: imports and exports are single lines, modules form no
/// cycles, and none is imported while it runs.
pub(crate) fn bundle<R>(entry: &str, read: R) -> Result<String, String>
where
    R: FnMut(&str) -> Result<String, String>,
{
    let mut bundle = Bundle { read, begun: Vec::new(), added: Vec::new(), text: String::new() };
    let (code, _) = bundle.read(entry)?;
    Ok(bundle.text + &code)
}

struct Bundle<R> {
    read: R,
    // Modules whose imports are being added, from the entry on.
    begun: Vec<String>,
    // Their indices are in the names of their variables.
    added: Vec<String>,
    text: String,
}

impl<R: FnMut(&str) -> Result<String, String>> Bundle<R> {
    /// Adds a module, after those that it imports, unless it is there. Returns its variable.
    fn add(&mut self, path: &str) -> Result<String, String> {
        if let Some(index) = self.added.iter().position(|added| added == path) {
            return Ok(variable(index));
        }
        let (code, exports) = self.read(path)?;
        let name = variable(self.added.len());
        self.added.push(path.to_owned());
        let exports = exports.join(", ");
        let written =
            write!(self.text, "const {name} = (() => {{\n{code}return {{ {exports} }};\n}})();\n");
        written.map_err(|err| err.to_string())?;
        Ok(name)
    }

    /// The code of a module without imports and exports, and the members of an object of its exports.
    fn read(&mut self, path: &str) -> Result<(String, Vec<String>), String> {
        if self.begun.iter().any(|begun| begun == path) {
            return Err(format!("{path} imports itself: {}", self.begun.join(", ")));
        }
        self.begun.push(path.to_owned());
        let source = (self.read)(path)?;
        let (mut code, mut exports) = (String::with_capacity(source.len()), Vec::new());
        for line in source.lines() {
            let fault = || format!("{path}: this line cannot be joined with others: {line}");
            if line.contains(" import(") {
                return Err(fault());
            } else if let Some(import) = line.strip_prefix("import ") {
                let (names, from) = parts(import).ok_or_else(fault)?;
                let module = self.add(&joined(path, from))?;
                let names = match names.strip_prefix("* as ") {
                    Some(name) => name.to_owned(),
                    None => names.replace(" as ", ": "),
                };
                code.push_str(&format!("const {names} = {module};\n"));
            } else if let Some((names, from)) = line.strip_prefix("export {").and_then(parts) {
                let module = self.add(&joined(path, from))?;
                let names = names.trim_end_matches('}').split(',').map(str::trim);
                for name in names.filter(|name| !name.is_empty()) {
                    let (inner, outer) = name.split_once(" as ").unwrap_or((name, name));
                    exports.push(format!("{outer}: {module}.{inner}"));
                }
            } else if let Some(declaration) = line.strip_prefix("export ") {
                exports.push(declared(declaration).ok_or_else(fault)?.to_owned());
                code.push_str(declaration);
                code.push('\n');
            } else {
                code.push_str(line);
                code.push('\n');
            }
        }
        self.begun.pop();
        Ok((code, exports))
    }
}

/// The variable with the exports of a module. No module has names with a dollar sign.
fn variable(index: usize) -> String {
    format!("${index}")
}

/// The names and the path of `NAMES from 'PATH';`.
fn parts(line: &str) -> Option<(&str, &str)> {
    line.strip_suffix("';")?.split_once(" from '")
}

/// The name that a declaration declares.
fn declared(declaration: &str) -> Option<&str> {
    let name = DECLARATIONS.iter().find_map(|start| declaration.strip_prefix(start))?;
    let end = name.find(|it: char| !it.is_ascii_alphanumeric() && it != '_')?;
    (0 < end).then(|| &name[..end])
}

/// The path that a module at `path` imports as `name`.
fn joined(path: &str, name: &str) -> String {
    let mut segments: Vec<_> = path.split('/').collect();
    segments.pop();
    for segment in name.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined_from(files: &[(&str, &str)]) -> Result<String, String> {
        bundle("a.js", |path| {
            let file = files.iter().find(|(name, _)| *name == path);
            file.map(|(_, text)| (*text).to_owned()).ok_or_else(|| format!("no {path}"))
        })
    }

    #[test]
    fn modules_come_after_those_that_they_import_and_once() {
        let text = joined_from(&[
            (
                "a.js",
                "import { x, y as z } from './b/c.js';\nimport * as d from './d.js';\nx(z, d);\n",
            ),
            (
                "b/c.js",
                "import { W } from '../d.js';\nexport const x = 1;\nexport async function y() {\n}\n",
            ),
            ("d.js", "export class W {}\n"),
        ]);
        let expected = "const $0 = (() => {\nclass W {}\nreturn { W };\n})();\n\
            const $1 = (() => {\nconst { W } = $0;\nconst x = 1;\nasync function y() {\n}\nreturn { x, y };\n})();\n\
            const { x, y: z } = $1;\nconst d = $0;\nx(z, d);\n";
        assert_eq!(text.as_deref(), Ok(expected));
    }

    #[test]
    fn a_module_passes_on_exports_of_another() {
        let text = joined_from(&[
            ("a.js", "import { x } from './b.js';\n"),
            ("b.js", "export { x, y as z } from './c.js';\n"),
            ("c.js", "export const x = 1;\nexport const y = 2;\n"),
        ]);
        let passed = "const $1 = (() => {\nreturn { x: $0.x, z: $0.y };\n})();\n";
        assert!(text.unwrap().contains(passed));
    }

    #[test]
    fn unsupported_modules_are_errors() {
        for line in [
            "import { b } from \"./b.js\";",
            "import {",
            "export let b = 1;",
            "export default 1;",
            "const b = await import('./b.js');",
            "import { b } from './missing.js';",
            "import { b } from './a.js';",
        ] {
            let error = joined_from(&[("a.js", line), ("b.js", "")]).unwrap_err();
            assert!(error.contains("a.js") || error.contains("missing.js"), "{error}");
        }
    }
}
