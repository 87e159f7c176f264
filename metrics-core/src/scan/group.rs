//! Groups of sessions: the combinations of values that dimensions have.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::ScanError;
use super::column::{Column, DimensionValue, ValueRef};
use super::filter::Picked;
use crate::query::DIMENSIONS_MAX;

/// How many groups of sessions there may be before a limit applies: 50 MB of sums.
pub const GROUPS_MAX: usize = 200_000;

/// How many bytes the values of dimensions may have together.
pub const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many combinations of codes of a block are looked up in a table, which takes 256 KB.
const TABLE_MAX: u64 = 1 << 16;

/// A code or combination that has no group yet.
const NONE: u32 = u32::MAX;

/// The groups, numbered in the order in which they were met.
#[derive(Clone, Debug)]
pub(super) struct Grouping {
    // Per dimension.
    values: Vec<Interner>,
    /// The ids of each group's values.
    keys: Vec<Key>,
    index: HashMap<Key, u32, Mixing>,
}

/// The ids of the values of a group, 32 bits each, that of the first dimension highest.
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

/// Hashes ids and times, which callers do not choose, faster than the default.
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
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The value that a dimension has in a group.
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

    /// The group with these values, which is made if there is none.
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

    /// Takes the groups of another, and returns the number that each has here.
    pub(super) fn merge(&mut self, other: &Self) -> Result<Vec<u32>, ScanError> {
        (0..other.len() as u32).map(|group| self.make(&other.values(group))).collect()
    }

    /// The group of each session picked, by the columns of the dimensions.
    pub(super) fn slots(
        &mut self,
        columns: &[Column<'_>],
        picked: &Picked,
    ) -> Result<Vec<u32>, ScanError> {
        let (combinations, number) = combine(columns, picked)?;
        let mut ids: Vec<_> = columns.iter().map(|it| vec![NONE; it.values.len()]).collect();
        let mut find = |combination| self.group_of(combination, columns, &mut ids);
        if TABLE_MAX < number {
            let mut table: HashMap<u64, u32, Mixing> = HashMap::default();
            let slots = combinations.into_iter().map(|combination| {
                if let Some(slot) = table.get(&combination) {
                    return Ok(*slot);
                }
                let slot = find(combination)?;
                table.insert(combination, slot);
                Ok(slot)
            });
            return slots.collect();
        }
        let mut table = vec![NONE; number as usize];
        let mut slots = Vec::with_capacity(combinations.len());
        for combination in combinations {
            let slot = &mut table[combination as usize];
            if *slot == NONE {
                *slot = find(combination)?;
            }
            slots.push(*slot);
        }
        Ok(slots)
    }

    /// The group of a combination of codes. `ids` are those of codes that were met before.
    fn group_of(
        &mut self,
        combination: u64,
        columns: &[Column<'_>],
        ids: &mut [Vec<u32>],
    ) -> Result<u32, ScanError> {
        let mut rest = combination;
        let mut found = [0; DIMENSIONS_MAX];
        for (dimension, column) in columns.iter().enumerate().rev() {
            let len = column.values.len() as u64;
            let code = (rest % len) as usize;
            rest /= len;
            let id = &mut ids[dimension][code];
            if *id == NONE {
                *id = self.values[dimension].id(&column.values[code])?;
            }
            found[dimension] = *id;
        }
        self.group(key(&found[..columns.len()]))
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

    /// The id that a dimension's value has in a group.
    fn id(&self, group: u32, dimension: usize) -> u32 {
        let places = self.values.len() - 1 - dimension;
        (self.keys[group as usize] >> (32 * places)) as u32
    }
}

fn key(ids: &[u32]) -> Key {
    ids.iter().fold(0, |key, id| key << 32 | Key::from(*id))
}

/// A number per session picked for the combination of its codes, and how many such numbers there are.
fn combine(columns: &[Column<'_>], picked: &Picked) -> Result<(Vec<u64>, u64), ScanError> {
    let mut number = 1_u64;
    let mut combinations = vec![0_u64; picked.sessions.len()];
    for column in columns {
        let len = column.values.len() as u64;
        number = number.checked_mul(len).ok_or(ScanError::TooManyGroups)?;
        let Some(codes) = column.codes.as_deref() else {
            combinations.iter_mut().for_each(|it| *it *= len);
            continue;
        };
        for (combination, session) in combinations.iter_mut().zip(picked.iter()) {
            *combination = *combination * len + u64::from(codes[session]);
        }
    }
    Ok((combinations, number))
}

impl Interner {
    /// The id of a value, which is added if it is new.
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
