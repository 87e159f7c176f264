//! The pure parts against models that are obviously right.

mod calendar;
mod cmcd;
mod delivery;
mod engagement;
mod interval;
mod session;
mod time_bucket;
