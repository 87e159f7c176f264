//! The state of rules and of deliveries, in a file that survives restarts.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::milestones::Reached;
use super::queue::Queue;
use super::rules::{Kind, Rules};
use super::weekly::Day;

/// The layout of the file. Another one is refused.
const LAYOUT: u32 = 1;

/// The most bytes of a file that is read: the queue, and 10,000 videos of each of 50 rules.
const BYTES_MAX: u64 = 64 << 20;

/// The state of all rules.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct State {
    layout: u32,
    /// By the names of rules.
    rules: BTreeMap<String, RuleState>,
    pub(super) queue: Queue,
}

/// The state of a rule.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RuleState {
    Milestone(Reached),
    Threshold(Alert),
    Silence(Alert),
    /// The day of the last summary.
    Weekly(Option<Day>),
}

impl Default for State {
    fn default() -> Self {
        Self { layout: LAYOUT, rules: BTreeMap::new(), queue: Queue::default() }
    }
}

impl State {
    /// Keeps the state of these rules only, and begins that of new ones. Returns the number of deliveries of rules that
    /// are gone.
    pub(super) fn follow(&mut self, rules: &Rules) -> usize {
        let mut before = std::mem::take(&mut self.rules);
        for rule in &rules.rules {
            let new = RuleState::of(&rule.kind);
            let state = before.remove(&rule.name).filter(|old| old.is_like(&new)).unwrap_or(new);
            self.rules.insert(rule.name.clone(), state);
        }
        self.queue.retain(|delivery| rules.find(&delivery.rule).is_some())
    }

    /// The state of a rule, which must be [followed](Self::follow).
    pub(super) fn rule(&mut self, name: &str, kind: &Kind) -> &mut RuleState {
        self.rules.entry(name.to_owned()).or_insert_with(|| RuleState::of(kind))
    }

    /// Reads a file; a missing one is the beginning.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        let length = match fs::metadata(file) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            found => found?.len(),
        };
        if BYTES_MAX < length {
            return Err(io::Error::other("it is too large"));
        }
        let state: Self = serde_json::from_slice(&fs::read(file)?)?;
        if state.layout == LAYOUT {
            Ok(state)
        } else {
            Err(io::Error::other("a newer version wrote it"))
        }
    }

    /// Writes a file completely or not at all, also when the power fails or the disk is full.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        // Servers that share a directory do not write into each other's part.
        let part = file.with_extension(format!("{}.part", std::process::id()));
        let written = self.write_part(&part).and_then(|()| fs::rename(&part, file));
        if let Err(err) = written {
            // The file may not exist. The write error matters more than an error of removing it.
            let _removed = fs::remove_file(&part);
            return Err(err);
        }
        // Only on Unix can a directory be opened and synced as a file.
        #[cfg(unix)]
        File::open(
            file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?
        .sync_all()?;
        Ok(())
    }

    fn write_part(&self, part: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut out: File = options.open(part)?;
        out.write_all(&serde_json::to_vec(self)?)?;
        out.sync_all()
    }
}

impl RuleState {
    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Milestone(_) => Self::Milestone(None),
            Kind::Threshold(_) => Self::Threshold(Alert::default()),
            Kind::Silence { .. } => Self::Silence(Alert::default()),
            Kind::Weekly(_) => Self::Weekly(None),
        }
    }

    /// Whether both are states of rules of one kind.
    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}
