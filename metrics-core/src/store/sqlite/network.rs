//! Recognizes files on network file systems, where SQLite's locks and the shared memory of its log are unreliable: two
//! machines, or one after a lost connection, damage the file without noticing.

use std::path::Path;

/// Linux's names of file systems whose files are on another machine, or on the host of a virtual one.
const NETWORK: [&str; 17] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "lustre",
    "glusterfs",
    "gfs2",
    "ocfs2",
    "virtiofs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
    "fuse.rclone",
];

/// Warns if the file at `path`, or its directory, is on a network file system. Only Linux is supported.
pub(super) fn warn(path: &str) {
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mountinfo") else { return };
    let directory = Path::new(path).parent().filter(|it| !it.as_os_str().is_empty());
    let Ok(directory) = std::fs::canonicalize(directory.unwrap_or(Path::new("."))) else { return };
    if let Some(kind) = kind_of(&directory, &mounts).filter(|kind| NETWORK.contains(kind)) {
        tracing::warn!(
            path,
            file_system = kind,
            "the SQLite file is on a network file system, which can damage it: move it to a local disk, or use \
             TimescaleDB or PostgreSQL"
        );
    }
}

/// The type of the file system at a path, by the lines of `/proc/self/mountinfo`: the longest mount point above the
/// path, and of several at one point the last, which hides the others.
fn kind_of<'a>(path: &Path, mounts: &'a str) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = unescaped(mount.split(' ').nth(4)?);
        let kind = kind.split(' ').next()?;
        path.starts_with(&point).then_some((Path::new(&point).components().count(), kind))
    };
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

/// A mount point with its escapes replaced: spaces and the like, as a backslash and three octal digits.
fn unescaped(point: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(point.to_owned(), |point, (escape, character)| point.replace(escape, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_that_of_the_longest_mount_point() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            40 22 0:40 / /srv/data rw - nfs4 server:/data rw,vers=4.2\n\
            41 22 0:41 / /srv/my\\040data rw master:2 - fuse.sshfs me@host: rw\n\
            42 40 0:42 / /srv/data/local rw - xfs /dev/sdb1 rw\n\
            43 22 0:43 / /over rw - ext4 /dev/sdc1 rw\n\
            44 22 0:44 / /over rw - cifs //host/share rw\n";
        let kind = |path: &str| kind_of(Path::new(path), mounts);
        assert_eq!(kind("/var/lib/metrics"), Some("ext4"));
        assert_eq!(kind("/srv/data/metrics"), Some("nfs4"));
        assert_eq!(kind("/srv/database"), Some("ext4"));
        assert_eq!(kind("/srv/data/local/a"), Some("xfs"));
        assert_eq!(kind("/srv/my data"), Some("fuse.sshfs"));
        assert_eq!(kind("/over"), Some("cifs"));
        assert_eq!(kind_of(Path::new("/a"), "nonsense"), None);
    }
}
