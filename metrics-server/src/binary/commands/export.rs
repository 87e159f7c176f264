//! `metrics-server export`: writes a report, or sessions, to a file or to the standard output.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Stdout, Write as _};
use std::path::{Path, PathBuf};

use chrono::Utc;
use metrics_core::store::Store;
use tokio::task::block_in_place;

use super::progress::Progress;
use crate::export::Export;

/// Writes an export.
///
/// # Errors
///
/// The reason why the export is incomplete. The output file exists only if it is complete.
pub(super) async fn write_export(
    store: &dyn Store,
    export: &Export,
    output: Option<&Path>,
) -> Result<(), Box<dyn Error>> {
    let mut exporting = export.begin(store, Utc::now()).await?;
    let total = match exporting.sessions_read() {
        Some(_) => store.count_sessions().await?,
        None => 0,
    };
    let mut output = Output::open(output)?;
    let mut shown = Progress::new("sessions");
    while let Some(piece) = exporting.next(store).await? {
        // The reader may take any time: this process serves no one else.
        block_in_place(|| output.write(&piece))
            .map_err(|err| format!("cannot write {}: {err}", output.name()))?;
        if let Some(read) = exporting.sessions_read() {
            shown.show(read, total);
        }
    }
    drop(shown);
    block_in_place(|| output.finish())?;
    Ok(())
}

/// The destination of an export.
enum Output {
    Stdout(Stdout),
    /// Written as `.part` beside its path first, so that an incomplete file is not taken for a complete one.
    File {
        file: File,
        part: PathBuf,
        path: PathBuf,
        is_done: bool,
    },
    /// An existing path that is no regular file, such as a pipe.
    Other(File, PathBuf),
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(Self::Stdout(io::stdout())) };
        let path = path.to_owned();
        let failed = |err: io::Error| format!("cannot write {}: {err}", path.display());
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            let other = File::options().write(true).open(&path).map_err(failed)?;
            return Ok(Self::Other(other, path));
        }
        let mut part = OsString::from(&path);
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(failed)?;
        Ok(Self::File { file, part, path, is_done: false })
    }

    fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.write_all(piece),
            Self::File { file, .. } | Self::Other(file, _) => file.write_all(piece),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        let finished = match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::Other(..) => Ok(()),
            Self::File { file, part, path, is_done } => {
                file.sync_all().and_then(|()| fs::rename(part, path)).map(|()| *is_done = true)
            }
        };
        finished.map_err(|err| format!("cannot write {}: {err}", self.name()))
    }

    fn name(&self) -> String {
        match self {
            Self::Stdout(_) => "to the standard output".to_owned(),
            Self::File { path, .. } | Self::Other(_, path) => path.display().to_string(),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Self::File { part, is_done: false, .. } = self {
            // The disk may be gone. There is no remedy here.
            drop(fs::remove_file(part));
        }
    }
}
