//! A small disk.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A disk of its own, in memory, that a test can fill. Unmounted when this is dropped.
///
/// Mounting needs the privileges of a superuser; without them, a test fails and reports the reason.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Mounts an empty disk of this size in mebibytes.
    #[must_use]
    pub fn new(mebibytes: u32) -> Self {
        let disk = Self { directory: TempDir::new().expect("a directory") };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0777"), "tmpfs"]);
        disk
    }

    /// Returns the path of the mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Fills the disk.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file on the disk");
        loop {
            // Less than a page may remain free; no write fits into it.
            match ballast.write_all(&[0; 4_096]) {
                Ok(()) => {}
                Err(err) if err.kind() == ErrorKind::StorageFull => return,
                Err(err) => panic!("the disk cannot be filled: {err}"),
            }
        }
    }

    /// Frees the space again.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).expect("what filled the disk");
    }

    /// Makes the disk read-only, or writable again. No file on it may be open for writing.
    pub fn set_read_only(&self, read_only: bool) {
        self.mount(&["-o", if read_only { "remount,ro" } else { "remount,rw" }]);
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    fn mount(&self, arguments: &[&str]) {
        let mut mount = Command::new("mount");
        let done = mount.args(arguments).arg(self.path()).output().expect("`mount` can be run");
        let message = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "a small disk cannot be mounted; run the test as a superuser who may: {message}"
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a failed test may still have open files.
        let _gone = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
