//! The committed inputs of fuzz targets.

use std::fs;
use std::panic;
use std::path::Path;

/// Runs `check` on every file that the crate in `manifest_dir` has committed for the fuzz target `target`, and panics
/// with the path of a file that fails.
pub fn replay_corpus(manifest_dir: &str, target: &str, check: fn(&[u8])) {
    let directory = Path::new(manifest_dir).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|err| panic!("{directory:?}: {err}"));
    let mut count = 0;
    for file in files {
        let path = file.expect("the directory can be read").path();
        let bytes = fs::read(&path).expect("the file can be read");
        assert!(panic::catch_unwind(|| check(&bytes)).is_ok(), "it fails for {path:?}");
        count += 1;
    }
    assert!(0 < count, "{directory:?} is empty");
}
