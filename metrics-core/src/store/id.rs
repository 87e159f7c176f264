//! Row ids of keys, videos and blocks, the number of an instance, and the version of a session.

/// The row id of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub i64);

/// The row id of a video.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VideoId(pub i64);

/// The row id of a block. A block that replaces another has a new id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BlockId(pub i64);

/// One process that records sessions: a number chosen at random when it starts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instance(pub u32);

/// A number that increases by one with every write of a session, from 1 on.
pub type Version = u32;
