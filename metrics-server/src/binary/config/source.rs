//! Where settings are set: the flags of the command line, and the environment.

use std::collections::HashMap;
use std::ffi::OsString;

use super::ConfigError;
use super::setting::{About, SERVER, Setting, Unreadable};

/// The flags and the environment of a command.
pub(super) struct Source<'a> {
    /// Such as `keys list`, or [`SERVER`].
    command: String,
    // Switches are `true`.
    flags: HashMap<&'static str, String>,
    environment: &'a dyn Fn(&str) -> Option<OsString>,
}

impl<'a> Source<'a> {
    /// The settings of a command. Variables of other commands may be set, as all commands share the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Refused`] names a flag that the command does not take, and the commands that do.
    pub(super) fn new(
        command: String,
        flags: Vec<(&'static About, String)>,
        environment: &'a dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        if let Some((about, _)) = flags.iter().find(|(about, _)| !about.is_of(&command)) {
            return Err(ConfigError::Refused(format!(
                "`{command}` does not take {}, which is for {}",
                about.flag,
                listed(about.commands)
            )));
        }
        let flags = flags.into_iter().map(|(about, text)| (about.flag, text)).collect();
        Ok(Self { command, flags, environment })
    }

    /// Reads a setting, or its default.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Refused`] names the setting, the value unless it is secret, and the values that are accepted.
    pub(super) fn get<T>(&self, Setting { about, read }: &Setting<T>) -> Result<T, ConfigError> {
        match self.find(about)? {
            None => read(about.default.value())
                .map_err(|why| refused(about, about.variable, about.default.value(), why)),
            Some((name, text)) => read(&text).map_err(|why| refused(about, name, &text, why)),
        }
    }

    /// Refuses the value of a setting, because of that of another one.
    ///
    /// # Errors
    ///
    /// Always.
    pub(super) fn refuse(&self, about: &About) -> Result<(), ConfigError> {
        let (name, text) = self.find(about)?.unwrap_or((about.variable, String::new()));
        Err(refused(about, name, &text, Unreadable::NotAccepted))
    }

    /// Whether a setting is set.
    pub(super) fn is_set(&self, about: &About) -> Result<bool, ConfigError> {
        Ok(self.find(about)?.is_some())
    }

    /// The value of a setting, with the name under which it is set. An empty variable is one that is not set.
    fn find(&self, about: &About) -> Result<Option<(&'static str, String)>, ConfigError> {
        if let Some(text) = self.flags.get(about.flag) {
            if text.trim().is_empty() {
                return Err(refused(about, about.flag, text, Unreadable::NotAccepted));
            }
            return Ok(Some((about.flag, text.clone())));
        }
        if about.variable.is_empty() || !about.is_of(&self.command) {
            return Ok(None);
        }
        let Some(text) = (self.environment)(about.variable).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match text.into_string() {
            Ok(text) => Ok(Some((about.variable, text))),
            Err(_) => Err(ConfigError::Refused(format!("{} must be UTF-8", about.variable))),
        }
    }
}

fn refused(about: &About, name: &str, text: &str, why: Unreadable) -> ConfigError {
    ConfigError::Refused(match why {
        Unreadable::NotAccepted if about.is_secret => format!("{name} must be {}", about.accepted),
        Unreadable::NotAccepted => format!("{name} is {text:?}: it must be {}", about.accepted),
        Unreadable::Because(why) => format!("{name} is {text:?}, which {why}"),
        Unreadable::Plain(why) => format!("{name}: {why}"),
    })
}

/// Commands as a list, like "the server and `delete`".
fn listed(commands: &[&str]) -> String {
    let named = |command: &&str| match *command {
        SERVER => "the server".to_owned(),
        command => format!("`{command}`"),
    };
    match commands.iter().map(named).collect::<Vec<_>>().split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
