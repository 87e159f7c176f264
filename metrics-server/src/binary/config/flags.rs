//! The command line: commands with their own flags, and the flags of settings.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};

use super::ConfigError;
use super::command::CommandFlags;
use super::help;
use super::setting::{About, SERVER};
use super::table::SETTINGS;

/// The command line without settings.
#[derive(Debug, clap::Parser)]
#[command(name = "metrics-server", version)]
#[command(
    about = "Measures how videos are watched, without tracking anyone. Without a command, starts the server"
)]
struct Line {
    #[command(subcommand)]
    command: Option<CommandFlags>,
}

/// A command line that was parsed.
pub(super) struct Parsed {
    pub(super) command: Option<CommandFlags>,
    /// The words of the command, such as `keys list`, or [`SERVER`].
    pub(super) path: String,
    /// The settings that flags set, the last one last.
    pub(super) settings: Vec<(&'static About, String)>,
}

/// Parses a command line. Its first argument is the name of the program.
///
/// # Errors
///
/// [`ConfigError`] if it is not understood, or if it requires help.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Parsed, ConfigError> {
    let refused = |err: clap::Error| refuse(&err);
    let line = with_settings(Line::command(), SERVER);
    let matches = line.try_get_matches_from(arguments).map_err(refused)?;
    let (path, settings) = found(&matches);
    let Line { command } = Line::from_arg_matches(&matches).map_err(refused)?;
    Ok(Parsed { command, path, settings })
}

/// Adds the flags of all settings to a command and those below it, unless it has a flag of that name: also the flags that it
/// does not take, so that an error can name the commands that do. `--help` describes the ones that it takes.
fn with_settings(command: clap::Command, path: &str) -> clap::Command {
    let is_own = |about: &&&About| {
        command
            .get_arguments()
            .any(|it| it.get_long().is_some_and(|own| about.flag == format!("--{own}")))
    };
    let flags = SETTINGS.iter().filter(|about| !about.flag.is_empty() && !is_own(about));
    let flags: Vec<_> = flags.map(|about| flag(about)).collect();
    let usage = usage_of(&command, path);
    let mut command = command.args(flags).after_help(help::settings_of(path)).override_usage(usage);
    let names: Vec<_> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    for name in names {
        let path = if path == SERVER { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(name, |below| with_settings(below, &path));
    }
    command
}

/// The usage of a command. Its settings are options, although clap does not list them.
fn usage_of(command: &clap::Command, path: &str) -> String {
    let name = format!("metrics-server {path}");
    let name = name.trim_end();
    let usage = command.clone().bin_name(name).render_usage().to_string();
    match usage.trim_start_matches("Usage: ").strip_prefix(name) {
        Some(rest) if !rest.contains("[OPTIONS]") => format!("{name} [OPTIONS]{rest}"),
        rest => format!("{name}{}", rest.unwrap_or_default()),
    }
}

fn flag(about: &'static About) -> Arg {
    let flag = Arg::new(about.flag).long(about.flag.trim_start_matches('-')).hide(true);
    if about.is_switch() { flag.action(ArgAction::SetTrue) } else { flag.value_name(about.value) }
}

/// The words of the command, and the settings on its way.
fn found(matches: &ArgMatches) -> (String, Vec<(&'static About, String)>) {
    let (mut path, mut settings, mut level) = (Vec::new(), Vec::new(), matches);
    loop {
        for about in SETTINGS.iter().filter(|about| !about.flag.is_empty()) {
            // A level has no flag of a setting in whose place it has one of its own.
            let text = if about.is_switch() {
                let is_set = level.try_get_one::<bool>(about.flag).ok().flatten();
                is_set.filter(|is_set| **is_set).map(|_| "true".to_owned())
            } else {
                level.try_get_one::<String>(about.flag).ok().flatten().cloned()
            };
            settings.extend(text.map(|text| (*about, text)));
        }
        let Some((name, below)) = level.subcommand() else { return (path.join(" "), settings) };
        path.push(name);
        level = below;
    }
}

/// An error of clap's, as one line.
fn refuse(err: &clap::Error) -> ConfigError {
    let text = err.to_string();
    if matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return ConfigError::Printed(text);
    }
    if err.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or_default();
        let words = usage.split(' ').take_while(|word| !word.starts_with(['[', '<']));
        let words = words.collect::<Vec<_>>().join(" ");
        return ConfigError::Refused(format!("a command is missing; `{words} --help` lists them"));
    }
    // It may hold a password, and a refusal ends up in a log.
    if text.contains("://") {
        let line = "a URL is given where none is expected; --help lists all flags";
        return ConfigError::Refused(line.to_owned());
    }
    // What is missing is listed below the first line.
    let lines = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    let line = lines.collect::<Vec<_>>().join(" ");
    let line = line.trim_start_matches("error: ");
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let tip = tip.filter(|tip| tip.contains("similar")).map(|tip| format!(": {tip}"));
    let tip = tip.unwrap_or_default();
    ConfigError::Refused(format!("{line}{tip}; --help lists all flags"))
}
