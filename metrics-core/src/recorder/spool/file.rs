//! A spool file: a header, then a line per session.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::SpoolError;
use super::line::Line;
use crate::recorder::entry::Spilled;

/// The layout of a file. Other layouts are refused.
pub(super) const LAYOUT: u32 = 1;

/// The first line of a file.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Header {
    pub(super) layout: u32,
    /// The number of the recorder that counts the inputs when they are recovered.
    pub(super) id: u32,
    /// The recorder that wrote the file.
    pub(super) instance: u32,
}

/// Writes a file completely or not at all, also when the power fails or the disk is full.
pub(super) fn write(file: &Path, header: &Header, spilled: &[Spilled]) -> io::Result<()> {
    let part = file.with_extension("part");
    let written = write_part(&part, header, spilled).and_then(|()| fs::rename(&part, file));
    if let Err(err) = written {
        // The file may not exist. The write error matters more than an error of removing it.
        let _removed = fs::remove_file(&part);
        return Err(err);
    }
    // Only on Unix can a directory be opened and synced as a file.
    #[cfg(unix)]
    File::open(file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(())
}

fn write_part(part: &Path, header: &Header, spilled: &[Spilled]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = BufWriter::new(options.open(part)?);
    let mut write_line = |line: serde_json::Result<String>| writeln!(out, "{}", line?);
    write_line(serde_json::to_string(header))?;
    // A line at a time: all lines together would double the memory of the sessions.
    spilled
        .iter()
        .try_for_each(|spilled| write_line(serde_json::to_string(&Line::new(spilled))))?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

pub(super) fn read(file: &Path) -> Result<(Header, Vec<Spilled>), SpoolError> {
    let unreadable = |source| SpoolError::Read { file: file.to_owned(), source };
    let damaged = |line| SpoolError::Damaged { file: file.to_owned(), line };
    let mut lines = (1..).zip(BufReader::new(File::open(file).map_err(unreadable)?).lines());
    let first = lines.next().ok_or_else(|| damaged(1))?.1.map_err(unreadable)?;
    let header: Header = serde_json::from_str(&first).map_err(|_| damaged(1))?;
    if header.layout != LAYOUT {
        return Err(damaged(1));
    }
    let mut sessions = Vec::new();
    for (number, line) in lines {
        let line: Option<Line> = serde_json::from_str(&line.map_err(unreadable)?).ok();
        sessions.push(line.and_then(Line::session).ok_or_else(|| damaged(number))?);
    }
    Ok((header, sessions))
}
