//! Every file is compiled, says what it is, and is short enough to be read at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::tree::Tree;

/// Files that are no longer than this are read at once.
pub(crate) const LINES_MAX: usize = 500;

/// All sources in a directory and below, without those that a build makes.
pub(crate) fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let hidden = name.starts_with('.') || name == "target" || name == "node_modules";
            if entry.file_type().expect("a type").is_dir() {
                if !hidden {
                    waiting.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Faults of sources that no target compiles. `roots` are the root files of all targets.
pub(crate) fn orphans(directory: &Path, roots: &[PathBuf]) -> Vec<Fault> {
    let compiled: BTreeSet<PathBuf> = roots
        .iter()
        .flat_map(|root| Tree::read(root).files().map(real).collect::<Vec<_>>())
        .collect();
    let orphans = sources(directory).into_iter().filter(|file| !compiled.contains(&real(file)));
    let message =
        "no `mod` and no target compiles this file: declare the module, or delete the file";
    orphans.map(|file| Fault::new(&file, 1, message)).collect()
}

fn real(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// Faults of sources that do not begin with the doc of their module.
pub(crate) fn undocumented(files: &[PathBuf]) -> Vec<Fault> {
    let message = "begins with no `//!`: say in the first line what the file is";
    let without = files.iter().filter(|file| {
        let first = fs::read_to_string(file).expect("a source").lines().next().map(str::to_owned);
        !first.is_some_and(|line| line.starts_with("//! ") && line.len() > "//! ".len())
    });
    without.map(|file| Fault::new(file, 1, message)).collect()
}

/// Faults of sources longer than [`LINES_MAX`].
pub(crate) fn too_long(files: &[PathBuf]) -> Vec<Fault> {
    let lines = |file: &PathBuf| fs::read_to_string(file).expect("a source").lines().count();
    let lengths = files.iter().map(|file| (file, lines(file)));
    let long = lengths.filter(|(_, lines)| LINES_MAX < *lines);
    long.map(|(file, lines)| {
        let message = format!(
            "{lines} lines, and {LINES_MAX} are the most: move a part, or the tests, to a file of its own"
        );
        Fault::new(file, LINES_MAX + 1, message)
    })
    .collect()
}
