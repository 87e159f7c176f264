//! Rules on a real store and deliveries to a real receiver, with a clock that only tests advance.

mod deliveries;
mod fixture;
mod kinds;
