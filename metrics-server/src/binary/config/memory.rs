//! The memory budget for the use of clients: a setting, or by default a part of the memory that this process may use.

use std::path::Path;

/// The default budget reserves this part of the usable memory, and at least [`BESIDE_MIN`], for threads, page caches of
/// SQLite, transactions and the overhead of the allocator.
const BESIDE_PART: usize = 4;

/// The minimum memory of a server beside its budget, in bytes. Measured under floods: 50 MiB.
pub(super) const BESIDE_MIN: usize = 64 * MIB;

/// The smallest budget, in bytes: bodies have a quarter of it, and a body of 1 MiB needs some 20 MiB while it is read.
pub(super) const MEMORY_MIN: usize = 96 * MIB;

const MIB: usize = 1024 * 1024;

/// The default budget if the usable memory is unknown.
const UNKNOWN: usize = 1024 * MIB;

/// Reads a budget that is not too small for a server.
pub(super) fn read_memory(text: &str) -> Option<usize> {
    read_size(text).filter(|size| MEMORY_MIN <= *size)
}

/// Reads a size: a number of bytes, or one with a unit like `256 MiB` or `2 GB`.
fn read_size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

/// Returns the default budget: a part of the memory that this process may use.
///
/// # Errors
///
/// The usable memory, if it is too small.
pub(super) fn default(root: &Path) -> Result<usize, usize> {
    let Some(usable) = usable(root) else { return Ok(UNKNOWN) };
    let budget = usable.saturating_sub(BESIDE_MIN.max(usable / BESIDE_PART));
    if budget < MEMORY_MIN { Err(usable) } else { Ok(budget) }
}

/// Returns the memory that this process may use: the minimum of the machine's memory, the limits of its control groups
/// and its resource limits. `root` is `/`, except in tests.
fn usable(root: &Path) -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let machine = read("proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
    });
    let limits = read("proc/self/limits").unwrap_or_default();
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        // The soft limit; `unlimited` is no number.
        line.split_whitespace().next()?.parse::<usize>().ok()
    };
    let groups = read("proc/self/cgroup").unwrap_or_default();
    let groups = groups.lines().flat_map(|line| group_limits(root, line));
    let limits = [machine, limit("Max data size"), limit("Max address space")];
    limits.into_iter().flatten().chain(groups).min()
}

/// Returns the limits of a control group and of its parents. `line` is a line of `/proc/self/cgroup`.
fn group_limits(root: &Path, line: &str) -> Vec<usize> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    // In a container the path may be the path on the host, whose end is mounted.
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    let limit = |group: &Path| {
        let text = std::fs::read_to_string(root.join(mount).join(group).join(file)).ok()?;
        // `max` is no number. Version 1 writes a number that exceeds the memory of any machine.
        text.trim().parse().ok()
    };
    groups.filter_map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_of_bytes_or_has_a_unit() {
        for (text, bytes) in [
            ("1073741824", 1 << 30),
            ("256 MiB", 256 << 20),
            ("256MiB", 256 << 20),
            ("256m", 256 << 20),
            ("2 GB", 2_000_000_000),
            ("2g", 2 << 30),
            ("0", 0),
        ] {
            assert_eq!(read_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5 GB", "1 GiBi", "much", "99999999999999 TiB", "1 2"] {
            assert_eq!(read_size(text), None, "{text}");
        }
    }

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_smallest_limit_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       8388608 kB\nMemFree:  1 kB\n");
        assert_eq!(usable(system(&[meminfo]).path()), Some(8 << 30));
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
            Max data size             268435456            unlimited            bytes     \n\
            Max address space         unlimited            unlimited            bytes     \n";
        let limits = ("proc/self/limits", limits);
        assert_eq!(usable(system(&[meminfo, limits]).path()), Some(256 << 20));
        let own = ("proc/self/cgroup", "0::/a.slice/b.service\n");
        let parent = ("sys/fs/cgroup/a.slice/memory.max", "1073741824\n");
        let child = ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
        assert_eq!(usable(system(&[meminfo, own, parent, child]).path()), Some(1 << 30));
        let own = ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/0123\n0::/\n");
        let inside = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(usable(system(&[meminfo, own, inside]).path()), Some(512 << 20));
    }

    #[test]
    fn the_default_is_three_quarters_and_not_too_little() {
        let of = |kib: usize| {
            default(system(&[("proc/meminfo", &format!("MemTotal: {kib} kB\n"))]).path())
        };
        assert_eq!(of(1 << 20), Ok(768 << 20));
        assert_eq!(of(192 << 10), Ok(128 << 20));
        assert_eq!(of(64 << 10), Err(64 << 20));
        assert_eq!(default(system(&[]).path()), Ok(UNKNOWN));
    }
}
