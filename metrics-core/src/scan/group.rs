//! Groups of sessions: the combinations of dimension values.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::ScanError;
use super::column::{Column, DimensionValue, ValueRef};
use super::filter::Picked;
use crate::block::Codes;

/// The largest number of groups of sessions before `limit` applies: 50 MB of sums.
pub(crate) const GROUPS_MAX: usize = 200_000;

/// The largest size of all dimension values together, in bytes.
pub(crate) const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The largest number of bits of the ids of a group's values for a table of groups: at most 8 MB.
const TABLE_BITS_MAX: u32 = 21;

/// A code without an id, or ids without a group.
const NONE: u32 = u32::MAX;

/// The groups, numbered in the order of their first sessions.
#[derive(Clone, Debug)]
pub(super) struct Grouping {
    // Per dimension.
    values: Vec<Interner>,
    // The ids of each group's values.
    keys: Vec<Key>,
    index: HashMap<Key, u32, Mixing>,
    // The groups by the bits of their ids, while the bits are few: much faster than the index.
    table: Vec<u32>,
    // The number of bits of each dimension's ids in the table.
    bits: Vec<u32>,
}

/// The ids of a group's values, 32 bits each, that of the first dimension highest.
type Key = u128;

type Mixing = BuildHasherDefault<Mix>;

/// The distinct values of a dimension.
#[derive(Clone, Debug, Default)]
struct Interner {
    values: Vec<DimensionValue>,
    bytes: usize,
    null: Option<u32>,
    texts: HashMap<Arc<str>, u32>,
    // Also times, in Unix milliseconds: no dimension has both.
    numbers: HashMap<i64, u32, Mixing>,
}

/// Hashes ids and times faster than the default. Callers cannot choose them.
#[derive(Clone, Copy, Debug, Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio, as in Fibonacci hashing.
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64((number >> 64) as u64);
        self.write_u64(number as u64);
    }
}

impl Grouping {
    pub(super) fn new(dimensions: usize) -> Self {
        Self {
            values: vec![Interner::default(); dimensions],
            keys: Vec::new(),
            index: HashMap::default(),
            table: vec![NONE],
            bits: vec![0; dimensions],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the approximate number of bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        // Each value is in a list and in a map, each key in a list and in the index.
        let value = 2 * size_of::<DimensionValue>() + 32;
        let values = self.values.iter();
        let values: usize = values.map(|it| it.bytes + it.values.len() * value).sum();
        let keys = self.keys.len() * (3 * size_of::<Key>() + size_of::<u32>());
        values + keys + self.table.len() * size_of::<u32>()
    }

    /// Returns the value of a dimension in a group.
    pub(super) fn value(&self, group: u32, dimension: usize) -> &DimensionValue {
        &self.values[dimension].values[self.id(group, dimension) as usize]
    }

    /// The values of a group.
    pub(super) fn values(&self, group: u32) -> Vec<DimensionValue> {
        (0..self.values.len()).map(|dimension| self.value(group, dimension).clone()).collect()
    }

    /// The group with these values, if there is one.
    pub(super) fn find(&self, values: &[DimensionValue]) -> Option<u32> {
        let ids = self.values.iter().zip(values).map(|(interner, value)| interner.find(value));
        let key = ids.collect::<Option<Vec<_>>>().map(|ids| key(&ids))?;
        self.index.get(&key).copied()
    }

    /// Returns the group with these values, and adds it if there is none.
    pub(super) fn make(&mut self, values: &[DimensionValue]) -> Result<u32, ScanError> {
        let ids = self.values.iter_mut().zip(values).map(|(interner, value)| match value {
            DimensionValue::Null => interner.id(&ValueRef::Null),
            DimensionValue::Number(number) => interner.id(&ValueRef::Number(*number)),
            DimensionValue::Time(start) => interner.id(&ValueRef::Time(start.timestamp_millis())),
            DimensionValue::Text(text) => interner.id(&ValueRef::Text((&**text).into())),
        });
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        self.group(key(&ids))
    }

    /// Returns the group of each picked session, by the columns of the dimensions.
    pub(super) fn slots(
        &mut self,
        columns: &[Column<'_>],
        picked: &Picked,
    ) -> Result<Vec<u32>, ScanError> {
        let mut ids = Vec::with_capacity(columns.len());
        for (interner, column) in self.values.iter_mut().zip(columns) {
            ids.push(interner.ids(column, picked)?);
        }
        if columns.iter().all(|column| matches!(column.codes, Codes::One)) {
            let ids: Vec<_> = ids.iter().map(|ids| ids[0]).collect();
            let group = self.group(key(&ids))?;
            return Ok(vec![group; picked.len()]);
        }
        let key_of = |session: usize| {
            let ids = ids.iter().zip(columns).map(|(ids, column)| ids[column.codes.get(session)]);
            ids.fold(0, |key, id| key << 32 | Key::from(id))
        };
        if !self.fit_table() {
            return picked.iter().map(|session| self.group(key_of(session))).collect();
        }
        let mut slots = vec![0_u32; picked.len()];
        for ((ids, column), bits) in ids.iter().zip(columns).zip(&self.bits) {
            column.codes.each(picked.iter().zip(&mut slots), |code, slot| {
                *slot = *slot << bits | ids[code];
            });
        }
        // Replaces each table index by its group in place.
        for (slot, session) in slots.iter_mut().zip(picked.iter()) {
            let at = *slot as usize;
            if self.table[at] == NONE {
                self.table[at] = self.group(key_of(session))?;
            }
            *slot = self.table[at];
        }
        Ok(slots)
    }

    /// Makes the table as large as the ids need, and returns false if it would be too large.
    fn fit_table(&mut self) -> bool {
        let bits =
            self.values.iter().map(|interner| u32::BITS - interner.last_id().leading_zeros());
        let bits: Vec<_> = bits.collect();
        let sum: u32 = bits.iter().sum();
        if TABLE_BITS_MAX < sum {
            self.table = Vec::new();
            return false;
        }
        if bits != self.bits {
            self.bits = bits;
            self.table = vec![NONE; 1 << sum];
            for group in 0..self.keys.len() as u32 {
                let slot = self.slot(self.keys[group as usize]);
                self.table[slot] = group;
            }
        }
        true
    }

    /// Returns the index of a group in the table.
    fn slot(&self, key: Key) -> usize {
        let dimensions = self.bits.len();
        let ids = self.bits.iter().enumerate().map(|(dimension, bits)| {
            (*bits, (key >> (32 * (dimensions - 1 - dimension))) as u32 as usize)
        });
        ids.fold(0, |slot, (bits, id)| slot << bits | id)
    }

    fn group(&mut self, key: Key) -> Result<u32, ScanError> {
        if let Some(group) = self.index.get(&key) {
            return Ok(*group);
        }
        if GROUPS_MAX <= self.keys.len() {
            return Err(ScanError::TooManyGroups);
        }
        let group = self.keys.len() as u32;
        self.keys.push(key);
        self.index.insert(key, group);
        Ok(group)
    }

    /// Returns the id of a dimension's value in a group.
    fn id(&self, group: u32, dimension: usize) -> u32 {
        let position = self.values.len() - 1 - dimension;
        (self.keys[group as usize] >> (32 * position)) as u32
    }
}

fn key(ids: &[u32]) -> Key {
    ids.iter().fold(0, |key, id| key << 32 | Key::from(*id))
}

impl Interner {
    /// Returns the ids of a column's codes, for the codes of selected sessions.
    fn ids(&mut self, column: &Column<'_>, picked: &Picked) -> Result<Vec<u32>, ScanError> {
        let mut is_picked = vec![false; column.values.len()];
        column.codes.each(picked.iter().map(|session| (session, ())), |code, ()| {
            is_picked[code] = true;
        });
        let ids = column.values.iter().zip(is_picked);
        ids.map(|(value, is_picked)| if is_picked { self.id(value) } else { Ok(NONE) }).collect()
    }

    /// The largest id, or 0 if there is none.
    fn last_id(&self) -> u32 {
        self.values.len().saturating_sub(1) as u32
    }

    /// Returns the id of a value, and adds the value if it is new.
    fn id(&mut self, value: &ValueRef<'_>) -> Result<u32, ScanError> {
        let next = self.values.len() as u32;
        let known = match value {
            ValueRef::Null => self.null,
            ValueRef::Number(number) | ValueRef::Time(number) => self.numbers.get(number).copied(),
            ValueRef::Text(text) => self.texts.get(&**text).copied(),
        };
        if let Some(id) = known {
            return Ok(id);
        }
        let value = value.to_value();
        match &value {
            DimensionValue::Null => self.null = Some(next),
            DimensionValue::Number(number) => {
                self.numbers.insert(*number, next);
            }
            DimensionValue::Time(start) => {
                self.numbers.insert(start.timestamp_millis(), next);
            }
            DimensionValue::Text(text) => {
                self.bytes += text.len();
                if GROUP_BYTES_MAX < self.bytes {
                    return Err(ScanError::TooManyGroups);
                }
                self.texts.insert(Arc::clone(text), next);
            }
        }
        self.values.push(value);
        Ok(next)
    }

    fn find(&self, value: &DimensionValue) -> Option<u32> {
        match value {
            DimensionValue::Null => self.null,
            DimensionValue::Number(number) => self.numbers.get(number).copied(),
            DimensionValue::Time(start) => self.numbers.get(&start.timestamp_millis()).copied(),
            DimensionValue::Text(text) => self.texts.get(text).copied(),
        }
    }
}
