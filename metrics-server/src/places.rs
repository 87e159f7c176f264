//! Places among the connections, and some that are kept to say that there is none.

use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use metrics_core::budget::{Budget, Reservation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::attempts::Peer;
use crate::memory::CONNECTION_BYTES;
use crate::reads::Progress;
use crate::response::Body;
use crate::share::{Share, Shares};
use crate::traffic::{Connected, Traffic};

/// How many connections beyond the limit are answered at once, if only to be turned away: whoever asks for the health
/// of a server that is full gets an answer, and does not restart it.
const SPARE: usize = 32;

/// How many of those one network may hold.
const SPARE_SHARE: usize = 4;

/// How long such a connection may take for its one request.
pub(crate) const SPARE_MAX: Duration = Duration::from_secs(5);

/// A place among the connections: whoever holds it is counted among them, and accounts the memory that it takes.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Option<Share>,
    _connected: Connected,
    _held: Reservation,
    /// How far its requests are.
    pub(crate) progress: Progress,
}

/// What becomes of a connection.
pub(crate) enum Admission {
    /// It is served as long as it lasts.
    Served(Place),
    /// It is answered once, about the health of the server only.
    Spare(Place),
    /// It is closed at once.
    Closed,
}

/// All places.
pub(crate) struct Places {
    room: Arc<Semaphore>,
    shares: Option<Arc<Shares>>,
    spare: Arc<Semaphore>,
    spare_shares: Arc<Shares>,
    traffic: Traffic,
    memory: Budget,
}

impl Places {
    /// Places for so many connections, which are charged to `memory`. Without `shares`, one address may hold all of them.
    pub(crate) fn new(
        most: usize,
        shares: Option<Arc<Shares>>,
        traffic: Traffic,
        memory: Budget,
    ) -> Self {
        let (room, spare) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(SPARE)));
        Self { room, shares, spare, spare_shares: Shares::new(SPARE_SHARE), traffic, memory }
    }

    /// A place for a connection from somewhere, if there is one.
    pub(crate) fn admit(&self, peer: Peer) -> Admission {
        let shares = self.shares.as_ref();
        if let Some(place) = self.place(&self.room, shares, peer) {
            return Admission::Served(place);
        }
        self.traffic.turn_away();
        match self.place(&self.spare, Some(&self.spare_shares), peer) {
            Some(place) => Admission::Spare(place),
            None => Admission::Closed,
        }
    }

    fn place(
        &self,
        room: &Arc<Semaphore>,
        shares: Option<&Arc<Shares>>,
        peer: Peer,
    ) -> Option<Place> {
        let permit = Arc::clone(room).try_acquire_owned().ok()?;
        let share = match shares.filter(|_| !peer.is_loopback()) {
            Some(shares) => Some(shares.take(peer)?),
            None => None,
        };
        Some(Place {
            _permit: permit,
            _share: share,
            _connected: self.traffic.connect(),
            _held: self.memory.charge(CONNECTION_BYTES),
            progress: Progress::default(),
        })
    }
}

/// What a connection without a place is told, unless it asks for the health of the server.
pub(crate) fn full() -> Response<Body> {
    crate::error::Error::Full.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn peer(last: u8) -> Peer {
        Peer([192, 0, 2, last].into())
    }

    fn places(most: usize, share: usize) -> Places {
        Places::new(most, Some(Shares::new(share)), Traffic::default(), Budget::new(0))
    }

    fn served(places: &Places, peer: Peer) -> Option<Place> {
        match places.admit(peer) {
            Admission::Served(place) => Some(place),
            Admission::Spare(_) | Admission::Closed => None,
        }
    }

    #[test]
    fn one_address_leaves_places_for_others() {
        let places = places(10, 7);
        let one: Vec<_> = (0..20).filter_map(|_| served(&places, peer(1))).collect();
        assert_eq!(one.len(), 7);
        let others: Vec<_> = (2..20).filter_map(|last| served(&places, peer(last))).collect();
        assert_eq!(others.len(), 3);
        assert_eq!(places.memory.used(), 10 * CONNECTION_BYTES);
        drop(one);
        assert_eq!(places.memory.used(), 3 * CONNECTION_BYTES);
        assert!(served(&places, peer(1)).is_some());
    }

    #[test]
    fn whoever_is_on_this_machine_may_hold_all() {
        let places = places(100, 1);
        let here = Peer([127, 0, 0, 1].into());
        let held: Vec<_> = (0..200).filter_map(|_| served(&places, here)).collect();
        assert_eq!(held.len(), 100);
    }

    /// Nobody takes them all away from those who ask for the health of the server.
    #[test]
    fn spare_places_are_few_and_shared() {
        let places = places(0, 1);
        let spare = |last| match places.admit(peer(last)) {
            Admission::Spare(place) => Some(place),
            Admission::Served(_) | Admission::Closed => None,
        };
        let one: Vec<_> = (0..100).filter_map(|_| spare(1)).collect();
        assert_eq!(one.len(), SPARE_SHARE);
        let others: Vec<_> = (2..100).filter_map(spare).collect();
        assert_eq!(one.len() + others.len(), SPARE);
        drop(others);
        assert!(spare(2).is_some());
        assert_eq!(full().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
