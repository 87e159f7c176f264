//! See `metrics_core::fuzzing::cmcd`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| metrics_core::fuzzing::cmcd(bytes));

#[cfg(not(fuzzing))]
fn main() -> Result<(), &'static str> {
    Err("this was built without a fuzzer: run scripts/fuzz")
}
