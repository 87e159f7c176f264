//! Each kind of fault is found in a small tree that has it, and not in the same tree without it.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::constants::{self, Allowed};
use crate::fault::Fault;
use crate::files;
use crate::imports::{self, KnownCycle};
use crate::tree::Tree;

/// A crate of these files, whose root is `lib.rs`.
struct Sources(TempDir);

impl Sources {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tree(&self) -> Tree {
        Tree::read(&self.path("lib.rs"))
    }
}

/// The file name, the line and a part of the message of each fault, in order.
fn assert_faults(mut found: Vec<Fault>, expected: &[(&str, usize, &str)]) {
    found.sort();
    let is_as_expected = found.len() == expected.len()
        && found.iter().zip(expected).all(|(fault, (file, line, part))| {
            fault.file.ends_with(file) && fault.line == *line && fault.message.contains(part)
        });
    let lines: Vec<String> = found.iter().map(Fault::to_string).collect();
    assert!(is_as_expected, "found {lines:#?}, expected {expected:#?}");
}

fn cycles(root: &str, a: &str, b: &str) -> Vec<Fault> {
    let sources = Sources::new(&[("lib.rs", root), ("a.rs", a), ("b.rs", b)]);
    // A cycle also breaks the order.
    let faults = imports::faults(&sources.tree(), &["b", "a"], &[]);
    faults.into_iter().filter(|fault| fault.message.contains("cycle")).collect()
}

const MODULES: &str = "mod a;\nmod b;\n";

#[test]
fn siblings_in_a_cycle_are_refused() {
    let a = "use crate::b::B;\npub struct A;\n";
    let expected = [("a.rs", 1, "(a, b)"), ("b.rs", 2, "(a, b)")];
    for b in [
        "pub struct B;\nuse crate::a::A;\n",
        "pub struct B;\nuse super::a;\n",
        "pub struct B;\nuse super::{a::A as Other};\n",
        "pub struct B;\nfn f() { crate::a::A; }\n",
        "pub struct B;\nfn f(_: super::a::A) {}\n",
        "pub struct B;\nfn f() { println!(\"{}\", [crate::a::A]); }\n",
        "pub struct B;\nimpl crate::a::A {}\n",
        "pub struct B;\nmod c { use super::super::a::A; }\n",
        "pub struct B;\nuse crate::a::*;\n",
    ] {
        assert_faults(cycles(MODULES, a, b), &expected);
    }
    assert_faults(cycles(MODULES, a, "pub struct B;\n"), &[]);
}

#[test]
fn a_name_belongs_to_the_module_that_defines_it() {
    let root = "mod a;\nmod b;\npub use a::A;\n";
    let a = "use crate::b::B;\npub struct A;\n";
    let expected = [("a.rs", 1, "(a, b)"), ("b.rs", 2, "`crate::A`")];
    assert_faults(cycles(root, a, "pub struct B;\nuse crate::A;\n"), &expected);
    let hidden = "mod a;\nmod b;\nuse a::A;\n";
    assert_faults(
        cycles(hidden, a, "pub struct B;\nfn f(_: super::A) {}\n"),
        &expected[..1].iter().chain(&[("b.rs", 2, "`super::A`")]).copied().collect::<Vec<_>>(),
    );
}

#[test]
fn modules_below_the_root_are_siblings_too() {
    let sources = Sources::new(&[
        ("lib.rs", "mod top;\n"),
        ("top.rs", "mod a;\nmod b;\n"),
        ("top/a.rs", "use super::b::B;\npub struct A;\n"),
        ("top/b.rs", "pub struct B;\nuse crate::top::a::A;\n"),
    ]);
    let expected = [("top/a.rs", 1, "`crate::top`"), ("top/b.rs", 2, "`crate::top`")];
    assert_faults(imports::faults(&sources.tree(), &["top"], &[]), &expected);
    let known = KnownCycle { parent: "top", modules: &["a", "b"] };
    assert_faults(imports::faults(&sources.tree(), &["top"], &[known]), &[]);
}

#[test]
fn tests_may_import_everything() {
    let a = "use crate::b::B;\npub struct A;\n";
    for b in [
        "pub struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n",
        "pub struct B;\n#[cfg(any(fuzzing, test))]\nfn f(_: crate::a::A) {}\n",
        "pub struct B;\n#[cfg(all(test, feature = \"x\"))]\nuse crate::a::A;\n",
        "pub struct B;\n#[test]\nfn f() { crate::a::A; }\n",
    ] {
        assert_faults(cycles(MODULES, a, b), &[]);
    }
    let b = "pub struct B;\n#[cfg(not(test))]\nuse crate::a::A;\n";
    assert_faults(cycles(MODULES, a, b), &[("a.rs", 1, ""), ("b.rs", 3, "")]);
    let b = "pub struct B;\n#[cfg(feature = \"x\")]\nuse crate::a::A;\n";
    assert_faults(cycles(MODULES, a, b), &[("a.rs", 1, ""), ("b.rs", 3, "")]);
}

#[test]
fn a_listed_cycle_that_is_gone_is_refused() {
    let sources = Sources::new(&[("lib.rs", MODULES), ("a.rs", ""), ("b.rs", "use crate::a;\n")]);
    let known = KnownCycle { parent: "", modules: &["a", "b"] };
    let found = imports::faults(&sources.tree(), &["a", "b"], &[known]);
    assert_faults(found, &[("lib.rs", 1, "not there any more")]);
}

#[test]
fn an_import_against_the_order_is_refused() {
    let sources = Sources::new(&[("lib.rs", MODULES), ("a.rs", ""), ("b.rs", "\nuse crate::a;\n")]);
    let faults = |order: &[&str]| imports::faults(&sources.tree(), order, &[]);
    assert_faults(faults(&["a", "b"]), &[]);
    assert_faults(faults(&["b", "a"]), &[("b.rs", 2, "`b` is below `a`")]);
    assert_faults(faults(&["a"]), &[("lib.rs", 1, "`b` is not in the order")]);
    assert_faults(
        faults(&["a", "b", "c"]),
        &[("lib.rs", 1, "`c` in the order of modules is none")],
    );
    assert_faults(
        faults(&["a", "b", "b"]),
        &[("lib.rs", 1, "`b` is in the order of modules twice")],
    );
}

#[test]
fn a_constant_that_is_defined_twice_is_refused() {
    let of = |b: &str, allowed: &[Allowed]| {
        let a = "pub const DAY_MS: i64 = 86_400_000;\n";
        let sources = Sources::new(&[("lib.rs", MODULES), ("a.rs", a), ("b.rs", b)]);
        constants::faults(&sources.tree(), allowed)
    };
    let expected = [("b.rs", 1, "`DAY_MS`")];
    for twin in [
        "const DAY_MS: i64 = 86_400_000;\n",
        "const DAY_MS: u64 = 24 * (60 * 60_000);\n",
        "fn f() { const DAY_MS: i64 = 86400000; }\n",
    ] {
        assert_faults(of(twin, &[]), &expected);
        assert_faults(of(twin, &[Allowed { name: "DAY_MS", reason: "" }]), &[]);
    }
    for other in [
        "const DAY_MS: i64 = 1;\n",
        "const ANOTHER_MS: i64 = 86_400_000;\n",
        "#[cfg(test)]\nconst DAY_MS: i64 = 86_400_000;\n",
    ] {
        assert_faults(of(other, &[]), &[]);
        let allowed = [Allowed { name: "DAY_MS", reason: "" }];
        assert_faults(of(other, &allowed), &[("lib.rs", 1, "not defined twice any more")]);
    }
    let texts = [
        ("lib.rs", MODULES),
        ("a.rs", "const A: &str = \"x\";\n"),
        ("b.rs", "const A: &str = \"x\";\n"),
    ];
    assert_faults(constants::faults(&Sources::new(&texts).tree(), &[]), &[("b.rs", 1, "`A`")]);
}

#[test]
fn a_file_that_nothing_compiles_is_refused() {
    let sources = Sources::new(&[
        (
            "lib.rs",
            "mod a;\n#[cfg(test)]\nmod tests;\n#[path = \"odd.rs\"]\nmod other;\nmod inline { mod deep; }\n",
        ),
        ("a/mod.rs", "mod below;\n"),
        ("a/below.rs", ""),
        ("tests.rs", ""),
        ("odd.rs", ""),
        ("inline/deep.rs", ""),
        ("bin/tool.rs", ""),
        ("target/made.rs", ""),
        ("a/orphan.rs", ""),
    ]);
    let roots = [sources.path("lib.rs"), sources.path("bin/tool.rs")];
    let found = files::orphans(sources.0.path(), &roots);
    assert_faults(found, &[("a/orphan.rs", 1, "declare the module, or delete the file")]);
    let found = files::orphans(sources.0.path(), &roots[..1]);
    assert_faults(found, &[("a/orphan.rs", 1, ""), ("bin/tool.rs", 1, "")]);
}

#[test]
fn a_file_without_a_module_comment_is_refused() {
    let sources = Sources::new(&[
        ("a.rs", "//! Something.\n"),
        ("b.rs", "use std::fmt;\n"),
        ("c.rs", ""),
        ("d.rs", "//!\n"),
        ("e.rs", "\n//! Too late.\n"),
    ]);
    let found = files::undocumented(&files::sources(sources.0.path()));
    let expected = ["b.rs", "c.rs", "d.rs", "e.rs"].map(|file| (file, 1, "begins with no `//!`"));
    assert_faults(found, &expected);
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    let lines = |count: usize| "\n".repeat(count);
    let (most, more) = (lines(files::LINES_MAX), lines(files::LINES_MAX + 1));
    let sources = Sources::new(&[("a.rs", &most), ("b.rs", &more)]);
    let found = files::sources(sources.0.path());
    assert_faults(files::too_long(&found), &[("b.rs", 501, "501 lines")]);
}
