//! Benchmarks, one file each: `cargo bench -p benches` runs the small ones, README.md describes the others.

use std::process::ExitCode;

pub mod bystander;
pub mod dataset;
pub mod drive;
pub mod http;
pub mod idle;
pub mod plain_sql;
pub mod process;
pub mod rows;
pub mod store_url;
pub mod table;
pub mod target;
pub mod verify;
pub mod viewers;
pub mod websocket;

/// The error of a benchmark, which ends it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Ends a program: prints its result, or its error.
pub fn report(program: &str, found: std::io::Result<String>) -> ExitCode {
    match found {
        Ok(text) => {
            #[expect(clippy::print_stdout, reason = "this is what it is for")]
            {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(err) => {
            #[expect(clippy::print_stderr, reason = "who started it is told")]
            {
                eprintln!("{program}: {err}");
            }
            ExitCode::FAILURE
        }
    }
}
