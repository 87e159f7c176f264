//! A disk with little room.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A disk of its own, in memory, that can be filled. Gone when this is dropped.
///
/// To make one needs the right to mount, as a superuser has it; without, a test fails and says so.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// An empty disk with room for so many mebibytes.
    #[must_use]
    pub fn new(mebibytes: u32) -> Self {
        let disk = Self { directory: TempDir::new().expect("a directory") };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0777"), "tmpfs"]);
        disk
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file on the disk");
        loop {
            // Less than a page at the end may be left; nothing fits into that.
            match ballast.write_all(&[0; 4_096]) {
                Ok(()) => {}
                Err(err) if err.kind() == ErrorKind::StorageFull => return,
                Err(err) => panic!("the disk cannot be filled: {err}"),
            }
        }
    }

    /// Makes room again.
    pub fn empty(&self) {
        fs::remove_file(self.ballast()).expect("what filled the disk");
    }

    /// Lets nobody write to it any more, or lets them again. No file on it may be open to be written.
    pub fn set_read_only(&self, read_only: bool) {
        self.mount(&["-o", if read_only { "remount,ro" } else { "remount,rw" }]);
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    fn mount(&self, arguments: &[&str]) {
        let mut mount = Command::new("mount");
        let done = mount.args(arguments).arg(self.path()).output().expect("`mount` can be run");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "a small disk cannot be mounted; run the test as a superuser who may: {said}"
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also where a test that failed has left files open.
        let _gone = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
