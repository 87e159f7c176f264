//! The server, which is a part of its library.

use std::process::ExitCode;

fn main() -> ExitCode {
    metrics_server::run()
}
