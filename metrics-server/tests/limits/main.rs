//! A server whose process may have few files or little memory.
//!
//! The tests open as many connections as the machine allows, and so share their process with no others.

#![cfg(target_os = "linux")]

mod files;
mod memory;
