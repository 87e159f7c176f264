//! The segments of many sessions, and the reports that follow from them.

use metrics_core::engagement::{Part, Parts, Seconds, SecondsBucket};
use metrics_core::interval::Segments;
use metrics_core::time_bucket::Buckets;

use crate::Failure;

/// The segments of many sessions, stored compactly, as a program would keep them.
#[derive(Debug, Default)]
pub struct Viewings {
    sessions: Vec<Viewing>,
    segments: Vec<u8>,
}

/// A session without its segments.
#[derive(Clone, Copy, Debug)]
struct Viewing {
    started_at_ms: i64,
    duration_ms: Option<u32>,
    /// The end of the session's segments.
    end: usize,
}

impl Viewings {
    pub(super) fn push(&mut self, started_at_ms: i64, segments: &[u8], duration_ms: Option<i32>) {
        self.segments.extend_from_slice(segments);
        let duration_ms = duration_ms.and_then(|ms| u32::try_from(ms).ok());
        self.sessions.push(Viewing { started_at_ms, duration_ms, end: self.segments.len() });
    }

    fn each(
        &self,
        mut view: impl FnMut(Viewing, &Segments) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut from = 0;
        for viewing in &self.sessions {
            view(*viewing, &Segments::decode(&self.segments[from..viewing.end])?)?;
            from = viewing.end;
        }
        Ok(())
    }

    /// Returns the viewers of equal parts.
    ///
    /// # Errors
    ///
    /// A row is damaged.
    pub fn parts(&self, parts: u32) -> Result<Vec<Part>, Failure> {
        let mut end_ms = 0;
        self.each(|_, segments| {
            end_ms = end_ms.max(segments.union().end_ms());
            Ok(())
        })?;
        let mut counted = Parts::new(end_ms, parts);
        self.each(|_, segments| {
            counted.add(segments);
            Ok(())
        })?;
        Ok(counted.finish())
    }

    /// Returns the viewers of every second.
    ///
    /// # Errors
    ///
    /// A row is damaged, or there are too many seconds.
    pub fn seconds(&self, buckets: Buckets) -> Result<Vec<SecondsBucket>, Failure> {
        let mut counted = Seconds::new(buckets);
        self.each(|viewing, segments| {
            Ok(counted.add(viewing.started_at_ms, segments, viewing.duration_ms)?)
        })?;
        Ok(counted.finish())
    }
}
