//! Statistics of the process, as the kernel keeps them under `/proc`. Other systems have none.

use std::fs;
use std::path::Path;

/// The ticks per second of the times in `/proc`: `USER_HZ`, which is fixed at 100 on every architecture that Rust
/// compiles for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The use of the machine by this process. `None` stands for an unknown value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) open_files_max: Option<u64>,
    /// The start, in seconds of Unix time.
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    /// Reads the statistics of this process. It blocks for some microseconds: the kernel makes these files in memory.
    pub(super) fn read(root: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(root.join(name)).ok();
        let (stat, status) = (text("self/stat"), text("self/status"));
        // Since Linux 6.2 the length of the directory is the number of its entries. Before, it is 0.
        let files = root.join("self/fd");
        let counted = fs::metadata(&files).ok().map(|found| found.len()).filter(|len| 0 < *len);
        let listed = || Some(fs::read_dir(&files).ok()?.count() as u64);
        let booted = || boot_seconds(&text("stat")?);
        let stat = stat.as_deref();
        Self {
            cpu_seconds: stat.and_then(cpu_seconds),
            resident_bytes: status.as_deref().and_then(|text| kibibytes(text, "VmRSS:")),
            virtual_bytes: status.as_deref().and_then(|text| kibibytes(text, "VmSize:")),
            open_files: counted.or_else(listed),
            open_files_max: text("self/limits").as_deref().and_then(open_files_max),
            start_seconds: stat
                .and_then(start_after_boot)
                .and_then(|after| Some(booted()? + after)),
        }
    }
}

/// A field of `stat` by its number in proc(5), 3 or more: the name of the program before may hold spaces.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// User and system time.
fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_after_boot(stat: &str) -> Option<f64> {
    Some(field(stat, 22)? / TICKS_PER_SECOND)
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// A size in `status`, in bytes.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

/// The soft limit of open files; `None` also if there is no limit.
fn open_files_max(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let directory = tempfile::TempDir::new().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("self/fd")).unwrap();
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 1234 99 88\n";
        fs::write(root.join("self/stat"), stat).unwrap();
        fs::write(root.join("self/status"), "Name:\ta\nVmSize:\t    2048 kB\nVmRSS:\t 512 kB\n")
            .unwrap();
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        fs::write(root.join("self/limits"), limits).unwrap();
        fs::write(root.join("stat"), "cpu 1 2\nbtime 1700000000\n").unwrap();
        let read = Process::read(root);
        assert_eq!(read.cpu_seconds, Some(3.0));
        assert_eq!((read.resident_bytes, read.virtual_bytes), (Some(524_288), Some(2_097_152)));
        assert_eq!(read.open_files_max, Some(1_024));
        assert_eq!(read.start_seconds, Some(1_700_000_012.34));
    }

    #[test]
    fn a_system_without_these_files_has_no_statistics() {
        let directory = tempfile::TempDir::new().unwrap();
        assert_eq!(Process::read(directory.path()), Process::default());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_statistics() {
        let read = Process::read(Path::new("/proc"));
        let now = chrono::Utc::now().timestamp() as f64;
        assert!(
            read.start_seconds.is_some_and(|at| (now - 86_400.0..=now + 2.0).contains(&at)),
            "{read:?}"
        );
        assert!(
            read.resident_bytes.is_some_and(|bytes| (1 << 20..1 << 40).contains(&bytes)),
            "{read:?}"
        );
        assert!(
            read.open_files.is_some_and(|files| 3 <= files) && read.cpu_seconds.is_some(),
            "{read:?}"
        );
    }
}
