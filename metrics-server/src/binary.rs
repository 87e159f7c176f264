//! The binary: reads settings and a command, and serves or runs the command.

mod commands;
mod config;
mod files;
mod server;
mod store;

use std::error::Error;
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::process::ExitCode;
use std::thread;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use self::config::{Command, Config, ConfigError, LogFormat};

/// The bytes of the memory budget per thread that may block: its stack takes an eighth of that.
const BYTES_PER_THREAD: usize = 16 << 20;

/// The fewest and the most threads that may block: the store writes and reads with 7, and reports fold with as many as
/// there are processors less one.
const THREADS: (usize, usize) = (16, 512);

/// Runs the binary, with the arguments and the environment of this process, and returns the exit code: 0 after success,
/// 1 after a failure, 2 if a setting or the command line is wrong. The binary is nothing else, see `main.rs`.
#[must_use]
pub fn run() -> ExitCode {
    let config = match Config::load() {
        Ok(config) => config,
        Err(refused) => return refused.exit(),
    };
    log(&config);
    let started = start_runtime(config.memory)
        .map_err(|err| -> Box<dyn Error> { format!("cannot start threads: {err}").into() });
    match started.and_then(|runtime| runtime.block_on(run_command(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            if let Some(refused) = err.downcast_ref::<ConfigError>() {
                return refused.exit();
            }
            #[expect(clippy::print_stderr, reason = "reports why the process ends")]
            {
                eprintln!("metrics-server: {}", chain(&*err));
            }
            ExitCode::FAILURE
        }
    }
}

fn log(config: &Config) {
    let filter = EnvFilter::new(&config.log_filter);
    // The output of a command is for other programs.
    let to_stderr = config.command.as_ref().is_some_and(Command::prints);
    let writer = if to_stderr {
        BoxMakeWriter::new(std::io::stderr)
    } else {
        BoxMakeWriter::new(std::io::stdout)
    };
    // Colours are for terminals; a file would hold their escapes.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_terminal =
        if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let builder = builder.with_ansi(is_terminal && !plain);
    match config.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.init(),
    }
}

/// Starts a runtime whose threads fit beside the memory budget.
fn start_runtime(memory: usize) -> io::Result<Runtime> {
    let (least, most) = THREADS;
    let threads = (memory / BYTES_PER_THREAD).clamp(least, most);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut runtime = runtime::Builder::new_multi_thread();
    runtime.worker_threads(processors.min(threads)).max_blocking_threads(threads);
    runtime.enable_all().build()
}

/// Serves, or runs another command, until it is done or a signal stops the process.
async fn run_command(config: Config) -> Result<(), Box<dyn Error>> {
    // First of all: a signal during the opening of the store must not end the process half way.
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let Some(command) = &config.command else {
        return server::serve_until(stopped, config).await;
    };
    let mut stopped = pin!(stopped);
    tokio::select! {
        () = &mut stopped => Err(match command {
            Command::Export { .. } => "interrupted: run the command again".into(),
            // An interrupted command fails, so that a script does not take it for done.
            _ => "interrupted: run the command again to continue".into(),
        }),
        done = commands::run(command, &config) => done,
    }
}

/// An error and its causes, in one line.
fn chain(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text = format!("{text}: {err}");
        cause = err.source();
    }
    text
}
