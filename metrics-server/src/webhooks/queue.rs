//! Deliveries that no receiver accepted yet, and when each is attempted. No I/O and no clock.

use serde::{Deserialize, Serialize};

use super::message::Message;

/// The most deliveries that wait.
const DELIVERIES_MAX: usize = 1_000;

/// The most deliveries of one rule that wait, so that one receiver that is down does not displace the others.
const OF_RULE_MAX: usize = 200;

/// The most bytes of their bodies.
const BYTES_MAX: usize = 4 << 20;

/// The longest pause before the second attempt. Each pause is twice as long as the one before.
const FIRST_PAUSE_MS: u64 = 10_000;

/// The longest pause.
const PAUSE_MS_MAX: u64 = 3_600_000;

/// How long a delivery is attempted: a receiver that breaks on a Friday evening may be repaired on Monday.
const ATTEMPTED_MS: i64 = 3 * 86_400_000;

/// A delivery that waits.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) body: String,
    /// When it was made, and when it is attempted next, in Unix milliseconds.
    pub(super) made_ms: i64,
    pub(super) next_ms: i64,
    pub(super) attempts: u32,
}

/// The deliveries that wait, the oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub(super) struct Queue {
    deliveries: Vec<Delivery>,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failed {
    /// Another attempt.
    Retried,
    /// Nothing: attempts failed for too long.
    GivenUp,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Adds a delivery that is due now. Returns false if the queue is full.
    pub(super) fn push(&mut self, rule: &str, message: Message, now_ms: i64) -> bool {
        let Message { id, body } = message;
        if self.deliveries.iter().any(|it| it.id == id) {
            return true;
        }
        let of_rule = self.deliveries.iter().filter(|it| it.rule == rule).count();
        let bytes: usize = self.deliveries.iter().map(|it| it.body.len()).sum();
        if DELIVERIES_MAX <= self.len() || OF_RULE_MAX <= of_rule || BYTES_MAX < bytes + body.len()
        {
            return false;
        }
        let rule = rule.to_owned();
        let made_ms = now_ms;
        self.deliveries.push(Delivery { id, rule, body, made_ms, next_ms: now_ms, attempts: 0 });
        true
    }

    /// Up to `most` deliveries that are due, the one that waits longest first.
    pub(super) fn due(&self, now_ms: i64, most: usize) -> Vec<Delivery> {
        let mut due: Vec<_> = self.deliveries.iter().filter(|it| it.is_due(now_ms)).collect();
        due.sort_by_key(|it| it.next_ms);
        due.into_iter().take(most).cloned().collect()
    }

    /// Milliseconds until the next delivery is due, if any waits.
    pub(super) fn next_in_ms(&self, now_ms: i64) -> Option<u64> {
        let waits = self.deliveries.iter().map(|it| {
            if it.is_due(now_ms) { 0 } else { it.next_ms.saturating_sub(now_ms).unsigned_abs() }
        });
        waits.min()
    }

    /// Removes a delivery.
    pub(super) fn remove(&mut self, id: &str) {
        self.deliveries.retain(|it| it.id != id);
    }

    /// Removes the deliveries for which `is_kept` is false, and returns how many.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Delivery) -> bool) -> usize {
        let before = self.len();
        self.deliveries.retain(is_kept);
        before - self.len()
    }

    /// Takes note of a failed attempt. `jitter` is from 0 to 1.
    pub(super) fn fail(&mut self, id: &str, now_ms: i64, jitter: f64) -> Option<Failed> {
        let delivery = self.deliveries.iter_mut().find(|it| it.id == id)?;
        if ATTEMPTED_MS <= now_ms.saturating_sub(delivery.made_ms) {
            self.remove(id);
            return Some(Failed::GivenUp);
        }
        let pause = pause_ms(delivery.attempts, jitter);
        delivery.attempts = delivery.attempts.saturating_add(1);
        delivery.next_ms = now_ms.saturating_add_unsigned(pause);
        Some(Failed::Retried)
    }
}

impl Delivery {
    /// Whether it is due. A pause longer than the longest was measured by another clock.
    fn is_due(&self, now_ms: i64) -> bool {
        let wait = self.next_ms.saturating_sub(now_ms);
        wait <= 0 || PAUSE_MS_MAX.cast_signed() < wait
    }
}

/// The pause after an attempt: half of it is random, so that servers do not attempt at the same moments.
fn pause_ms(attempts: u32, jitter: f64) -> u64 {
    let longest = FIRST_PAUSE_MS.saturating_mul(1 << attempts.min(20)).min(PAUSE_MS_MAX);
    let half = longest / 2;
    half + (half as f64 * jitter.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(id: &str) -> Message {
        Message { id: id.to_owned(), body: "{}".to_owned() }
    }

    #[test]
    fn a_delivery_is_due_until_it_is_removed_and_later_each_time() {
        let mut queue = Queue::default();
        assert!(queue.push("rule", message("a"), 0));
        assert_eq!((queue.due(0, 8).len(), queue.next_in_ms(0)), (1, Some(0)));
        assert_eq!(queue.fail("a", 0, 1.0), Some(Failed::Retried));
        assert_eq!((queue.due(9_999, 8).len(), queue.next_in_ms(9_000)), (0, Some(1_000)));
        assert_eq!(queue.due(10_000, 8).len(), 1);
        assert_eq!(queue.fail("a", 10_000, 0.0), Some(Failed::Retried));
        assert_eq!(queue.next_in_ms(10_000), Some(10_000));
        queue.remove("a");
        assert_eq!((queue.len(), queue.next_in_ms(0)), (0, None));
        assert_eq!(queue.fail("a", 0, 0.0), None);
    }

    #[test]
    fn attempts_end_after_three_days() {
        let mut queue = Queue::default();
        assert!(queue.push("rule", message("a"), 0));
        let (mut now, mut attempts) = (0, 0);
        while queue.fail("a", now, 0.5) == Some(Failed::Retried) {
            now += queue.next_in_ms(now).unwrap().cast_signed();
            attempts += 1;
        }
        assert!((ATTEMPTED_MS..ATTEMPTED_MS + 3_600_000).contains(&now), "{now}");
        assert!((70..120).contains(&attempts), "{attempts}");
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_delivery_of_another_clock_is_due_at_once() {
        let mut queue = Queue::default();
        assert!(queue.push("rule", message("a"), 1_000_000_000_000));
        // The clock is set back by years.
        assert_eq!(queue.due(0, 8).len(), 1);
    }

    #[test]
    fn a_queue_is_bounded_per_rule_and_in_sum() {
        let mut queue = Queue::default();
        let added = |queue: &mut Queue, rule: &str| {
            (0..300).filter(|n| queue.push(rule, message(&format!("{rule} {n}")), 0)).count()
        };
        assert_eq!(added(&mut queue, "a"), OF_RULE_MAX);
        assert_eq!(["b", "c", "d", "e"].map(|rule| added(&mut queue, rule)), [OF_RULE_MAX; 4]);
        assert_eq!((added(&mut queue, "f"), queue.len()), (0, DELIVERIES_MAX));
        // One that waits already is not added again.
        assert!(queue.push("a", message("a 1"), 0));
        assert_eq!(queue.retain(|it| it.rule != "a"), OF_RULE_MAX);
        let large = Message { id: "large".to_owned(), body: "a".repeat(BYTES_MAX) };
        assert!(!queue.push("g", large, 0));
    }

    proptest! {
        #[test]
        fn a_pause_is_at_least_half_of_the_longest(attempts in 0_u32..1_000, jitter in 0.0..=1.0) {
            let longest = (0..attempts.min(30)).fold(FIRST_PAUSE_MS, |it, _| (it * 2).min(PAUSE_MS_MAX));
            let pause = pause_ms(attempts, jitter);
            prop_assert!(longest / 2 <= pause && pause <= longest);
        }
    }
}
