//! Examples, one file each: `cargo run -p examples --example NAME`.

pub mod viewer;
