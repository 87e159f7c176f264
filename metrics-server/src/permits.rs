//! Connection permits, and spare permits for answering that all permits are taken.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Response;
use metrics_core::budget::{Budget, Reservation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::attempts::CallerAddress;
use crate::counters::{Connected, Counters};
use crate::memory::CONNECTION_BYTES;
use crate::reads::Progress;
use crate::response::Body;
use crate::share::{Share, Shares};

/// The number of connections beyond the limit that are served at once, if only with a refusal: a health check of a full
/// server gets an answer, so its supervisor does not restart it. The number is large enough that a flood does not hold
/// all of them.
const SPARE: usize = 128;

/// The number of spare permits that one network may hold.
const SPARE_SHARE: usize = 4;

/// The header timeout of such a connection: a flood that sends nothing frees its permits soon.
pub(crate) const SPARE_HEADER_MAX: Duration = Duration::from_secs(2);

/// The time limit of such a connection for its one request: longer than its header and a check of the store together.
pub(crate) const SPARE_MAX: Duration = Duration::from_secs(10);

/// The minimum interval between log entries about an address that holds its share.
const SHARE_LOG_PERIOD: Duration = Duration::from_secs(60);

/// A connection permit. Its holder is counted as open, and the memory of its connection is accounted.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
    _connected: Connected,
    _held: Reservation,
    /// The progress of the connection's requests.
    pub(crate) progress: Progress,
}

/// The decision on a connection.
pub(crate) enum Admission {
    /// The connection is served as long as it lasts.
    Served(Permit),
    /// The connection gets one response: to a health check, or a refusal.
    Spare(Permit),
    /// The connection is closed at once.
    Closed,
}

/// All permits.
pub(crate) struct Permits {
    space: Arc<Semaphore>,
    shares: Option<Arc<Shares>>,
    spare: Arc<Semaphore>,
    // None if a proxy makes all connections.
    spare_shares: Option<Arc<Shares>>,
    counters: Counters,
    memory: Budget,
    // The time of the last log entry about an address that holds its share.
    logged_at: Mutex<Option<Instant>>,
}

impl Permits {
    /// Permits for `most` connections, which are charged to `memory`. Without `shares`, one address may hold all of
    /// them.
    pub(crate) fn new(
        most: usize,
        shares: Option<Arc<Shares>>,
        counters: Counters,
        memory: Budget,
    ) -> Self {
        let (space, spare) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(SPARE)));
        let spare_shares = shares.is_some().then(|| Shares::new(SPARE_SHARE));
        Self { space, shares, spare, spare_shares, counters, memory, logged_at: Mutex::default() }
    }

    /// Decides on a connection from `caller_address`.
    pub(crate) fn admit(&self, caller_address: CallerAddress) -> Admission {
        if let Some(permit) = self.acquire(&self.space, self.shares.as_ref(), caller_address) {
            return Admission::Served(permit);
        }
        self.counters.refuse();
        if 0 < self.space.available_permits() && self.should_log() {
            // Addresses are not logged.
            tracing::warn!(
                "an address holds as many connections as one address may, and further ones are refused: if it is \
                 a proxy, set METRICS_FORWARDED_HEADER to the header in which it forwards addresses; else raise \
                 METRICS_CONNECTIONS_PER_ADDRESS"
            );
        }
        match self.acquire(&self.spare, self.spare_shares.as_ref(), caller_address) {
            Some(permit) => Admission::Spare(permit),
            None => Admission::Closed,
        }
    }

    /// Whether the last log entry is old enough for another.
    fn should_log(&self) -> bool {
        let mut logged_at = self.logged_at.lock().unwrap_or_else(PoisonError::into_inner);
        let should_log = logged_at.is_none_or(|at| SHARE_LOG_PERIOD <= at.elapsed());
        if should_log {
            *logged_at = Some(Instant::now());
        }
        should_log
    }

    fn acquire(
        &self,
        space: &Arc<Semaphore>,
        shares: Option<&Arc<Shares>>,
        caller_address: CallerAddress,
    ) -> Option<Permit> {
        let permit = Arc::clone(space).try_acquire_owned().ok()?;
        let share = match shares.filter(|_| !caller_address.is_loopback()) {
            Some(shares) => Some(shares.take(caller_address)?),
            None => None,
        };
        Some(Permit {
            _permit: permit,
            _share: share,
            _connected: self.counters.connect(),
            _held: self.memory.charge(CONNECTION_BYTES),
            progress: Progress::default(),
        })
    }
}

/// The response to a connection without a permit, except to health checks.
pub(crate) fn full() -> Response<Body> {
    crate::error::Error::Full.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn caller_address(last: u8) -> CallerAddress {
        CallerAddress([192, 0, 2, last].into())
    }

    fn permits(most: usize, share: usize) -> Permits {
        Permits::new(most, Some(Shares::new(share)), Counters::default(), Budget::new(0))
    }

    fn served(permits: &Permits, caller_address: CallerAddress) -> Option<Permit> {
        match permits.admit(caller_address) {
            Admission::Served(permit) => Some(permit),
            Admission::Spare(_) | Admission::Closed => None,
        }
    }

    #[test]
    fn one_address_leaves_permits_for_others() {
        let permits = permits(10, 7);
        let one: Vec<_> = (0..20).filter_map(|_| served(&permits, caller_address(1))).collect();
        assert_eq!(one.len(), 7);
        let others: Vec<_> =
            (2..20).filter_map(|last| served(&permits, caller_address(last))).collect();
        assert_eq!(others.len(), 3);
        assert_eq!(permits.memory.used(), 10 * CONNECTION_BYTES);
        drop(one);
        assert_eq!(permits.memory.used(), 3 * CONNECTION_BYTES);
        assert!(served(&permits, caller_address(1)).is_some());
    }

    #[test]
    fn callers_on_this_machine_may_hold_all() {
        let permits = permits(100, 1);
        let here = CallerAddress([127, 0, 0, 1].into());
        let held: Vec<_> = (0..200).filter_map(|_| served(&permits, here)).collect();
        assert_eq!(held.len(), 100);
    }

    #[cfg(feature = "binary")]
    #[tokio::test(start_paused = true)]
    async fn the_log_has_the_remedy_for_a_proxy_once_a_minute() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = Log(Arc::clone(&log));
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let logged = || {
            let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
            assert!(!log.contains("192.0.2"), "{log}");
            log.matches("METRICS_FORWARDED_HEADER").count()
        };
        let permits = permits(10, 2);
        let mut held: Vec<_> = (0..5).filter_map(|_| served(&permits, caller_address(1))).collect();
        assert_eq!((held.len(), logged()), (2, 1));
        tokio::time::advance(SHARE_LOG_PERIOD).await;
        assert!(
            served(&permits, caller_address(1)).is_none()
                && served(&permits, caller_address(1)).is_none()
        );
        assert_eq!(logged(), 2);
        // A full server is another case, which is not logged.
        tokio::time::advance(SHARE_LOG_PERIOD).await;
        held.extend((2..20).filter_map(|last| served(&permits, caller_address(last))));
        assert_eq!(
            (held.len(), served(&permits, caller_address(1)).is_none(), logged()),
            (10, true, 2)
        );
    }

    /// The destination of a test's log.
    #[cfg(feature = "binary")]
    #[derive(Clone)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    #[cfg(feature = "binary")]
    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A proxy makes the connections of health checks as well as all others.
    #[test]
    fn a_proxy_may_hold_all_spare_permits() {
        let permits = Permits::new(0, None, Counters::default(), Budget::new(0));
        let spare: Vec<_> = (0..1_000)
            .filter_map(|_| match permits.admit(caller_address(1)) {
                Admission::Spare(permit) => Some(permit),
                Admission::Served(_) | Admission::Closed => None,
            })
            .collect();
        assert_eq!(spare.len(), SPARE);
    }

    /// No caller can take all permits from health checks.
    #[test]
    fn spare_permits_are_few_and_shared() {
        let permits = permits(0, 1);
        let spare = |last| match permits.admit(caller_address(last)) {
            Admission::Spare(permit) => Some(permit),
            Admission::Served(_) | Admission::Closed => None,
        };
        let one: Vec<_> = (0..100).filter_map(|_| spare(1)).collect();
        assert_eq!(one.len(), SPARE_SHARE);
        let others: Vec<_> = (2..=255).filter_map(spare).collect();
        assert_eq!(one.len() + others.len(), SPARE);
        drop(others);
        assert!(spare(2).is_some());
        assert_eq!(full().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
