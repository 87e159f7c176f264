//! Measures how videos are watched, without tracking anyone.
