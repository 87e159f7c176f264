//! Replaces Parquet in programs that were built without the feature `parquet`.

use metrics_core::store;

use super::row::Line;

/// Whether this program can write Parquet files.
pub(crate) const IS_THERE: bool = false;

/// A type without values, since no file can be written.
#[derive(Debug)]
pub(crate) enum Parquet {}

impl Parquet {
    pub(super) fn new(_: impl FnOnce(&mut Line<'_>)) -> Result<Self, store::Error> {
        let reason = "this program was built without the feature `parquet`".to_owned();
        Err(store::Error::Unusable { store: "Parquet", reason })
    }

    pub(super) fn write(&mut self, _: impl FnOnce(&mut Line<'_>)) -> Result<(), store::Error> {
        match *self {}
    }

    pub(super) fn finish(&mut self) -> Result<(), store::Error> {
        match *self {}
    }

    pub(super) fn waiting(&self) -> usize {
        match *self {}
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        match *self {}
    }
}
