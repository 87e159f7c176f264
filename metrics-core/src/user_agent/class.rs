//! The classes of user agents: browsers, platforms and devices, each with a name and a stored number.

use std::fmt;

/// The classes of a viewer's user agent, as far as they are known.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserAgentClass {
    /// The browser.
    pub browser: Browser,
    /// The operating system.
    pub platform: Platform,
    /// The kind of device.
    pub device: Device,
}

/// Defines an enum whose variants have a name, for people, and a code, for storage.
macro_rules! classes {
    ($(#[$doc:meta])* $Class:ident { $($(#[$attr:meta])* $Variant:ident = $code:literal $name:literal,)+ }) => {
        $(#[$doc])*
        ///
        /// The numbers are stored: a new class gets a new number, and no number is ever reused.
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $Class {
            $($(#[$attr])* $Variant = $code,)+
        }

        impl $Class {
            /// Every class, by name.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$Variant),+];

            /// Returns the name in responses: lower case, without spaces.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)+
                }
            }

            /// Returns the number for storage.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Returns the class with the stored number `code`, or `Other` if there is none.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$Variant,)+
                    _ => Self::Other,
                }
            }

            /// Returns the class with this name, if there is one.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|class| class.name() == name)
            }
        }

        impl fmt::Display for $Class {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

classes! {
    /// The classes of browsers.
    Browser {
        /// Brave, if it identifies itself.
        Brave = 1 "brave",
        /// Chrome and Chromium.
        Chrome = 2 "chrome",
        /// Edge on either engine.
        Edge = 3 "edge",
        /// Firefox, and Firefox Focus.
        Firefox = 4 "firefox",
        /// Internet Explorer.
        Ie = 5 "ie",
        /// Opera in all its editions.
        Opera = 6 "opera",
        /// Another browser, an app, an HTTP library, or unknown.
        #[default]
        Other = 0 "other",
        /// Safari itself, not the apps that embed its engine.
        Safari = 7 "safari",
    }
}

classes! {
    /// The classes of operating systems.
    Platform {
        /// Android and Fire OS.
        Android = 1 "android",
        /// iOS and iPadOS. Safari on an iPad identifies itself as a Mac by default, to the letter: it counts as one.
        Ios = 2 "ios",
        /// Linux on desktops, Chromebooks among them.
        Linux = 3 "linux",
        /// macOS.
        Mac = 4 "mac",
        /// Another system, or unknown.
        #[default]
        Other = 0 "other",
        /// Windows, without Windows Phone.
        Windows = 5 "windows",
    }
}

classes! {
    /// The kinds of devices.
    Device {
        /// A desktop or laptop computer.
        Desktop = 1 "desktop",
        /// A phone.
        Mobile = 2 "mobile",
        /// A television, a console, a headset, or unknown.
        #[default]
        Other = 0 "other",
        /// A tablet.
        Tablet = 3 "tablet",
    }
}
