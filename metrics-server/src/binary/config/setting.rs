//! One setting of the binary: its names, its default, its reader, and the commands that take it.

/// A setting, which is read as a `T`.
pub(super) struct Setting<T> {
    pub(super) about: About,
    /// Reads a value. Where [`Default::Words`] is the default, an empty text stands for it.
    pub(super) read: fn(&str) -> Result<T, Unreadable>,
}

/// A setting, as `--help` and error messages describe it.
pub(super) struct About {
    /// Its flag, such as `--listen`; empty if only a variable sets it, as flags show in the list of processes.
    pub(super) flag: &'static str,
    /// Its environment variable; empty if only a flag sets it.
    pub(super) variable: &'static str,
    /// The placeholder of the flag's value; empty for a switch.
    pub(super) value: &'static str,
    pub(super) default: Default,
    /// Completes "it must be".
    pub(super) accepted: &'static str,
    pub(super) help: &'static str,
    /// The commands that take it, and [`SERVER`].
    pub(super) commands: &'static [&'static str],
    /// Whether error messages, which end up in logs, must not repeat the value.
    pub(super) is_secret: bool,
}

/// The default of a setting.
pub(super) enum Default {
    /// This value.
    Value(&'static str),
    /// A value that depends on the machine or on other settings, in words; empty for nothing.
    Words(&'static str),
}

/// The reason why a value cannot be read.
pub(super) enum Unreadable {
    /// The value is not among those that are accepted.
    NotAccepted,
    /// This reason, which completes "NAME is VALUE, which".
    Because(String),
    /// This reason, which follows "NAME: ".
    Plain(String),
}

/// The name of no command, which starts the server.
pub(super) const SERVER: &str = "";

impl About {
    /// An empty description, as a base for settings.
    pub(super) const NONE: Self = Self {
        flag: "",
        variable: "",
        value: "",
        default: Default::Words(""),
        accepted: "",
        help: "",
        commands: &[SERVER],
        is_secret: false,
    };

    /// Whether a command takes the setting, or the group of commands that it is in. `command` is such as `keys list`.
    pub(super) fn is_of(&self, command: &str) -> bool {
        let group = command.split(' ').next().unwrap_or_default();
        self.commands.contains(&group)
    }

    /// Whether its flag has no value.
    pub(super) fn is_switch(&self) -> bool {
        self.value.is_empty()
    }
}

impl Default {
    pub(super) fn text(&self) -> &'static str {
        match self {
            Self::Value(text) | Self::Words(text) => text,
        }
    }

    /// The text to read if nothing is set.
    pub(super) fn value(&self) -> &'static str {
        match self {
            Self::Value(text) => text,
            Self::Words(_) => "",
        }
    }
}
