//! Options of the store: the treatment of outdated tables, and the sizes of page caches.

use crate::store::Migrations;

/// Options of opening an SQLite file.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqliteOptions {
    pub(super) migrations: Migrations,
    pub(super) caches: Caches,
}

impl SqliteOptions {
    /// Sets the treatment of outdated tables: they are migrated by default.
    #[must_use]
    pub fn with_migrations(self, migrations: Migrations) -> Self {
        Self { migrations, ..self }
    }

    /// Limits page caches to about `bytes`: half for the connection that writes, at most 64 MiB, and half for 32
    /// connections that read, at most 2 MB each. By default the caches take these maxima.
    #[must_use]
    pub fn with_caches(self, bytes: usize) -> Self {
        Self { caches: Caches::within(bytes), ..self }
    }
}

impl From<Migrations> for SqliteOptions {
    fn from(migrations: Migrations) -> Self {
        Self { migrations, ..Self::default() }
    }
}

/// The largest page cache of a connection, in KiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caches {
    pub(super) writer_kib: usize,
    pub(super) reader_kib: usize,
}

impl Caches {
    /// Holds the pages that a batch changes, so that none is read twice, or written before the commit.
    const MOST: Self = Self { writer_kib: 64 * 1024, reader_kib: 2_000 };

    /// With less, each query reads the same pages again and again.
    const LEAST: Self = Self { writer_kib: 4 * 1024, reader_kib: 256 };

    fn within(bytes: usize) -> Self {
        let half_kib = bytes / 1024 / 2;
        Self {
            writer_kib: half_kib.clamp(Self::LEAST.writer_kib, Self::MOST.writer_kib),
            reader_kib: (half_kib / 32).clamp(Self::LEAST.reader_kib, Self::MOST.reader_kib),
        }
    }
}

impl Default for Caches {
    fn default() -> Self {
        Self::MOST
    }
}
