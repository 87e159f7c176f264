//! The sources of both libraries are in order: no cycles, no orphans, no constant twice, and every file says what it is.

use std::path::{Path, PathBuf};
use std::process::Command;

mod constants;
mod fault;
mod faults;
mod files;
mod imports;
mod paths;
mod tree;

use constants::Allowed;
use imports::KnownCycle;
use tree::Tree;

/// The modules of `metrics-core`, lowest first: each imports those before it only.
const CORE: &[&str] = &[
    "budget",
    "user_agent",
    "compute",
    "containment",
    "event",
    "cmcd",
    "stats",
    "shutdown",
    "source",
    "arrival",
    "key",
    "time",
    "time_bucket",
    "response",
    "varint",
    "interval",
    "engagement",
    "query",
    "erasure",
    "session",
    "block",
    "benchmarks",
    "clock",
    "totals",
    "video",
    "record",
    "scan",
    "store",
    "read",
    "export",
    "import",
    "quota",
    "keyring",
    "report",
    "copy",
    "upkeep",
    "conformance",
    "mave",
    "recorder",
    "retention",
    "metrics",
];

/// The modules of `metrics-server`, lowest first.
const SERVER: &[&str] = &[
    "text",
    "rate",
    "attempts",
    "code",
    "queue",
    "share",
    "response",
    "error",
    "selection",
    "access",
    "token",
    "answer",
    "phoenix",
    "wire",
    "parameters",
    "counters",
    "channel",
    "memory",
    "prefix",
    "single_flight",
    "table",
    "api",
    "auth",
    "cors",
    "export",
    "geo",
    "hosts",
    "networks",
    "users",
    "encoding",
    "page",
    "script",
    "route",
    "reads",
    "permits",
    "body",
    "webhooks",
    "settings",
    "guard",
    "outbox",
    "write_timeout",
    "frames",
    "connection",
    "handshake",
    "live",
    "longpoll",
    "socket",
    "service",
    "serve",
    "binary",
    "tower",
];

/// Cycles that are left in `metrics-core`. A cycle that is gone must go from here too.
const CORE_CYCLES: &[KnownCycle] = &[];

/// Cycles that are left in `metrics-server`. A cycle that is gone must go from here too.
const SERVER_CYCLES: &[KnownCycle] = &[];

/// Constants of `metrics-core` that have one name and one value, and do not mean the same.
const CORE_CONSTANTS: &[Allowed] = &[
    Allowed {
        name: "AHEAD_MAX",
        reason: "of clocks of other machines, and of the retention clock",
    },
    Allowed { name: "PAGE", reason: "how much each task reads at a time" },
    Allowed { name: "TRIES", reason: "how often each task tries again" },
];

/// Constants of `metrics-server` that have one name and one value, and do not mean the same.
const SERVER_CONSTANTS: &[Allowed] = &[
    Allowed { name: "PIECE_BYTES", reason: "of answers, and of exports" },
    Allowed { name: "WAIT_MAX", reason: "of reports, and of exports" },
];

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.join("../..").canonicalize().expect("the root of the workspace")
}

fn library(name: &str) -> Tree {
    Tree::read(&root().join(name).join("src/lib.rs"))
}

#[test]
fn the_core_has_no_cycles() {
    fault::none(imports::faults(&library("metrics-core"), CORE, CORE_CYCLES));
}

#[test]
fn the_server_has_no_cycles() {
    fault::none(imports::faults(&library("metrics-server"), SERVER, SERVER_CYCLES));
}

#[test]
fn the_core_defines_every_constant_once() {
    fault::none(constants::faults(&library("metrics-core"), CORE_CONSTANTS));
}

#[test]
fn the_server_defines_every_constant_once() {
    fault::none(constants::faults(&library("metrics-server"), SERVER_CONSTANTS));
}

#[test]
fn every_file_is_compiled() {
    fault::none(files::orphans(&root(), &targets()));
}

#[test]
fn every_file_has_a_module_comment() {
    fault::none(files::undocumented(&files::sources(&root())));
}

#[test]
fn no_file_is_too_long() {
    fault::none(files::too_long(&files::sources(&root())));
}

/// The root files of all targets of the workspace.
fn targets() -> Vec<PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let output = command.current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let targets = packages.iter().flat_map(|it| it["targets"].as_array().expect("targets"));
    targets.map(|it| PathBuf::from(it["src_path"].as_str().expect("a path"))).collect()
}
