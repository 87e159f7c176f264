//! A memory budget for all data that clients can make a process hold.
//!
//! Memory is accounted by its holder: code that keeps bytes for a client keeps a [`Reservation`] beside them, and both
//! are dropped together. Parts of a budget ([`Budget::part`]) keep one use from starving the others: answers that
//! clients do not read cannot hold the bytes that events need.
//!
//! Sizes are estimates of the holder, not sizes of the allocator; leave space for the difference.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A number of bytes that may be held at once. Clones share it.
///
/// ```
/// use metrics_core::budget::Budget;
///
/// let all = Budget::new(1_000);
/// let answers = all.part(600);
/// let held = answers.try_reserve(500).unwrap();
/// assert!(answers.try_reserve(200).is_none()); // More than 600 together.
/// assert!(all.try_reserve(600).is_none()); // More than 1,000 together.
/// drop(held);
/// assert_eq!(all.used(), 0);
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    max: usize,
    used: AtomicUsize,
    // Notifies callers that wait in the whole budget and in all of its parts, when bytes are released.
    released: Arc<Released>,
    parent: Option<Budget>,
}

/// Notifies callers that wait for released bytes.
#[derive(Default)]
struct Released {
    notify: Notify,
    // Number of waiting callers. Most releases happen while none waits, and cost no lock then.
    waiting: AtomicUsize,
}

/// Counts a waiting caller as long as it exists.
struct Waiting<'a>(&'a Released);

impl<'a> Waiting<'a> {
    fn on(released: &'a Released) -> Self {
        released.waiting.fetch_add(1, Ordering::SeqCst);
        Self(released)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Budget {
    /// A budget of `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self::with(max, Arc::default(), None)
    }

    /// A part of this budget: at most `max` bytes of it, and no more than it has left.
    #[must_use]
    pub fn part(&self, max: usize) -> Self {
        Self::with(max, Arc::clone(&self.0.released), Some(self.clone()))
    }

    fn with(max: usize, released: Arc<Released>, parent: Option<Self>) -> Self {
        Self(Arc::new(Inner { max, used: AtomicUsize::new(0), released, parent }))
    }

    /// How many bytes may be held at once.
    #[must_use]
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// How many bytes are held. More than [`max`](Self::max) after a [`charge`](Self::charge).
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::SeqCst)
    }

    /// How many bytes can still be reserved: those left of this budget, and no more than those left of the whole
    /// budget.
    #[must_use]
    pub fn remaining(&self) -> usize {
        let remaining = self.max().saturating_sub(self.used());
        self.0.parent.as_ref().map_or(remaining, |parent| remaining.min(parent.remaining()))
    }

    /// Whether nothing more can be reserved at the moment: this budget or the whole budget is used up.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.remaining() == 0
    }

    /// Reserves `bytes`, or returns `None` if fewer are left.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        self.try_take(bytes).then(|| Reservation { budget: self.clone(), bytes })
    }

    /// Waits until `bytes` can be reserved. More than the whole budget is reserved as soon as nothing else is held, so
    /// that no caller waits for ever. Cancel safe; not fair.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        let fitting = bytes.min(self.fitting());
        if let Some(mut reservation) = self.try_reserve(fitting) {
            reservation.charge(bytes - fitting);
            return reservation;
        }
        let _waiting = Waiting::on(&self.0.released);
        loop {
            let released = self.0.released.notify.notified();
            if let Some(mut reservation) = self.try_reserve(fitting) {
                reservation.charge(bytes - fitting);
                return reservation;
            }
            released.await;
        }
    }

    /// Waits until this budget is not used up. Cancel safe.
    pub async fn available(&self) {
        if !self.is_used_up() {
            return;
        }
        let _waiting = Waiting::on(&self.0.released);
        loop {
            let released = self.0.released.notify.notified();
            if !self.is_used_up() {
                return;
            }
            released.await;
        }
    }

    /// Reserves `bytes` even beyond the limit: for memory that is held already, and must not be dropped.
    pub fn charge(&self, bytes: usize) -> Reservation {
        self.take(bytes);
        Reservation { budget: self.clone(), bytes }
    }

    /// The largest reservation that fits.
    fn fitting(&self) -> usize {
        self.0.parent.as_ref().map_or(self.max(), |parent| self.max().min(parent.fitting()))
    }

    fn try_take(&self, bytes: usize) -> bool {
        // Checks the whole budget first: bytes taken from a part and given back, because the whole has none, would be
        // missing for other callers meanwhile.
        if self.remaining() < bytes {
            return false;
        }
        let add = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.max());
        if self.0.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_err() {
            return false;
        }
        let is_taken = self.0.parent.as_ref().is_none_or(|parent| parent.try_take(bytes));
        if !is_taken {
            // Another caller took the bytes of the whole budget after the check above, so this is rare.
            self.return_bytes(bytes);
            self.notify();
        }
        is_taken
    }

    fn take(&self, bytes: usize) {
        self.0.used.fetch_add(bytes, Ordering::SeqCst);
        if let Some(parent) = &self.0.parent {
            parent.take(bytes);
        }
    }

    fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.return_bytes(bytes);
        if let Some(parent) = &self.0.parent {
            return parent.release(bytes);
        }
        self.notify();
    }

    fn notify(&self) {
        // `SeqCst` gives one order with a caller that starts to wait and then finds too few bytes: one of the two
        // notices the other.
        if 0 < self.0.released.waiting.load(Ordering::SeqCst) {
            self.0.released.notify.notify_waiters();
        }
    }

    fn return_bytes(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::SeqCst);
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {} bytes)", self.used(), self.max())
    }
}

/// Bytes of a [`Budget`] that are held. Dropped, they are released.
#[derive(Debug)]
#[must_use = "dropping it releases the bytes"]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Reservation {
    /// How many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves `bytes` more, or returns false if fewer are left.
    #[must_use]
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let is_taken = self.budget.try_take(bytes);
        if is_taken {
            self.bytes += bytes;
        }
        is_taken
    }

    /// Reserves `bytes` more even beyond the limit, like [`Budget::charge`].
    pub fn charge(&mut self, bytes: usize) {
        self.budget.take(bytes);
        self.bytes += bytes;
    }

    /// Releases `bytes`, at most those that it holds.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.release(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

/// The bytes of a budget that one answer holds, which change while it is computed. Clones share them: the bytes are
/// released when the last clone is dropped.
///
/// The default has no budget, and holds any number of bytes.
#[derive(Clone, Debug, Default)]
pub struct Account(Option<Arc<Mutex<Reservation>>>);

impl Account {
    /// An account without a budget.
    pub(crate) const UNLIMITED: &'static Self = &Self(None);

    /// An account that holds nothing of `budget` yet.
    #[must_use]
    pub fn new(budget: &Budget) -> Self {
        Self(Some(Arc::new(Mutex::new(budget.charge(0)))))
    }

    /// Holds `bytes` from now on, in place of the bytes before.
    ///
    /// # Errors
    ///
    /// [`UsedUp`] if the budget has too few bytes left. The account still holds the bytes before, then.
    pub fn hold(&self, bytes: usize) -> Result<(), UsedUp> {
        let Some(reservation) = &self.0 else { return Ok(()) };
        let mut reservation = reservation.lock().unwrap_or_else(PoisonError::into_inner);
        let held = reservation.bytes();
        if held < bytes {
            let is_too_large = reservation.budget.fitting() < bytes;
            let used_up = if is_too_large { UsedUp::ByOne } else { UsedUp::ByAll };
            return reservation.try_grow(bytes - held).then_some(()).ok_or(used_up);
        }
        reservation.shrink(held - bytes);
        Ok(())
    }

    /// Holds `bytes` from now on, in place of the bytes before, even beyond the budget: for memory that is held
    /// already, and must not be dropped.
    pub fn charge(&self, bytes: usize) {
        let Some(reservation) = &self.0 else { return };
        let mut reservation = reservation.lock().unwrap_or_else(PoisonError::into_inner);
        let held = reservation.bytes();
        reservation.charge(bytes.saturating_sub(held));
        reservation.shrink(held.saturating_sub(bytes));
    }
}

/// The budget of an [`Account`] is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UsedUp {
    /// By several answers together: memory is free again when other answers were read.
    #[error(
        "the memory for answers is used up: try again later, or use a shorter timeframe, a wider interval, fewer \
         dimensions or a filter"
    )]
    ByAll,
    /// By this answer alone, which needs more than the whole budget.
    #[error(
        "the answer needs more memory than an answer may have: use a shorter timeframe, a wider interval, fewer dimensions \
         or a filter"
    )]
    ByOne,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_part_uses_its_parent() {
        let all = Budget::new(10);
        let (a, b) = (all.part(8), all.part(8));
        let held = a.try_reserve(6).unwrap();
        assert!(a.try_reserve(3).is_none());
        assert!(b.try_reserve(5).is_none());
        assert_eq!((all.used(), a.used(), b.used()), (6, 6, 0));
        let mut other = b.try_reserve(4).unwrap();
        assert!(all.is_used_up() && a.is_used_up() && !other.try_grow(1));
        drop(held);
        assert!(other.try_grow(4) && !other.try_grow(1));
        other.shrink(100);
        assert_eq!((all.used(), other.bytes()), (0, 0));
    }

    #[test]
    fn a_charge_exceeds_the_budget_until_it_is_released() {
        let all = Budget::new(10);
        let held = all.charge(15);
        assert!(all.is_used_up() && all.try_reserve(1).is_none());
        drop(held);
        assert!(all.try_reserve(10).is_some());
    }

    #[test]
    fn bytes_released_by_a_part_are_released_by_its_parent() {
        let all = Budget::new(10);
        let part = all.part(8);
        let held = all.charge(5);
        assert_eq!((all.remaining(), part.remaining()), (5, 5));
        let more = part.charge(4);
        assert_eq!((all.remaining(), part.remaining()), (1, 1));
        drop(held);
        assert_eq!((all.remaining(), part.remaining()), (6, 4));
        drop((more, all.charge(11)));
        assert_eq!((all.remaining(), part.remaining()), (10, 8));
    }

    #[tokio::test]
    async fn a_waiting_caller_gets_released_bytes() {
        let all = Budget::new(10);
        let part = all.part(10);
        let held = all.try_reserve(4).unwrap();
        let waiting = part.reserve(7);
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(waiting.await.bytes(), 7);
    }

    #[tokio::test]
    async fn more_than_the_budget_waits_for_all_of_it() {
        let all = Budget::new(10);
        let held = all.try_reserve(1).unwrap();
        assert!(all.reserve(25).now_or_never().is_none());
        drop(held);
        let all_of_it = all.reserve(25).await;
        assert_eq!(all.used(), 25);
        drop(all_of_it);
        assert_eq!(all.used(), 0);
    }

    #[test]
    fn a_failed_reservation_takes_memory_from_nobody() {
        const TRIES: usize = 20_000;
        let all = Budget::new(10);
        let part = all.part(10);
        let _held = all.charge(6);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Bytes are left of the part, but not of the whole.
                assert!((0..TRIES).all(|_| part.try_reserve(8).is_none()));
            });
            assert!((0..TRIES).all(|_| part.try_reserve(4).is_some()));
        });
    }

    #[test]
    fn the_largest_answer_is_no_larger_than_the_budget() {
        let part = Budget::new(10).part(100).part(50);
        let account = Account::new(&part);
        assert_eq!(account.hold(11), Err(UsedUp::ByOne));
        assert_eq!(account.hold(10), Ok(()));
    }

    #[test]
    fn an_account_holds_the_latest_number_of_bytes() {
        let all = Budget::new(10);
        let account = Account::new(&all);
        let clone = account.clone();
        assert_eq!(account.hold(8), Ok(()));
        assert_eq!(clone.hold(11), Err(UsedUp::ByOne));
        assert_eq!(all.used(), 8);
        let other = all.charge(1);
        assert_eq!(clone.hold(10), Err(UsedUp::ByAll));
        clone.charge(11);
        assert_eq!(all.used(), 12);
        drop(other);
        assert_eq!(clone.hold(3), Ok(()));
        drop(account);
        assert_eq!(all.used(), 3);
        drop(clone);
        assert_eq!(all.used(), 0);
        assert_eq!(Account::default().hold(usize::MAX), Ok(()));
    }
}
