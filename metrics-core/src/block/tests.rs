//! Blocks hold sessions as they were, and refuse bytes that are none.
