//! Streams of viewers, and the right to read them, which is checked again and again.

use std::sync::Arc;

use http::request::Parts;
use hyper::header::{HeaderMap, HeaderName};
use hyper::{Method, Response};
use metrics_core::LiveQuery;

use super::Service;
use super::admit::Admission;
use crate::access::{Grant, Purpose};
use crate::api::live::read_id;
use crate::api::params::Params;
use crate::error::Error;
use crate::live::{Listener, Right};
use crate::permits::Permit;
use crate::response::{self, Body};
use crate::share::Share;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl Service {
    /// Opens a stream of the viewers of a selection.
    pub(super) fn live(&self, mut head: Parts, granted: Grant) -> Result<Response<Body>, Error> {
        let flow = self.flow(&granted, &head.headers, &head.extensions);
        let token = granted.token();
        let query = read_query(&head, granted)?;
        if head.method == Method::HEAD {
            return Ok(response::events(Body::default()));
        }
        let caller_address = self.caller_address(&head.headers, &head.extensions);
        let last = head.headers.get(LAST_EVENT_ID).and_then(|id| read_id(id.as_bytes()));
        // The connection holds them.
        head.extensions.remove::<Arc<Permit>>();
        head.extensions.remove::<Arc<Share>>();
        let bytes = bytes(&head);
        let right = self.right(head, query.clone());
        let listener = Listener { query, flow, caller_address, token, last, bytes, right };
        let opened = self.inner.lives.open(listener);
        if matches!(opened, Err(Error::Full)) {
            self.inner.counters.refuse();
        }
        opened
    }

    /// Asks whether the caller with this request may still read `query`.
    fn right(&self, head: Parts, query: LiveQuery) -> Right {
        let asked = Arc::new((self.clone(), head, query));
        Box::new(move || {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (service, head, query) = &*asked;
                match service.admission(Purpose::Report, true, head).await {
                    Ok(Admission::Granted(grant)) => {
                        read_query(head, grant).is_ok_and(|granted| granted == *query)
                    }
                    Ok(Admission::Refused(_)) | Err(_) => false,
                }
            })
        })
    }
}

/// The selection of a request, narrowed to what its caller may read.
fn read_query(head: &Parts, granted: Grant) -> Result<LiveQuery, Error> {
    Params::parse(head.uri.query(), b"", granted)?.live_query()
}

/// The approximate bytes of the head of a request, without its extensions.
fn bytes(head: &Parts) -> usize {
    let of_headers = |headers: &HeaderMap| -> usize {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    };
    head.uri.to_string().len() + of_headers(&head.headers)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hyper::Request;
    use metrics_core::store::SqliteStore;
    use metrics_core::{ApiKey, Metrics, Selection};
    use tempfile::TempDir;

    use super::*;
    use crate::access::{Access, Decision};
    use crate::settings::Settings;

    /// Allows the keys that it has at the moment; nothing without any.
    #[derive(Clone, Debug)]
    struct Keys(Arc<Mutex<Vec<ApiKey>>>);

    #[async_trait::async_trait]
    impl Access for Keys {
        async fn decide(&self, request: &Parts, purpose: Purpose) -> Decision {
            assert_eq!((purpose, &request.method), (Purpose::Report, &Method::GET));
            match self.0.lock().unwrap().clone() {
                none if none.is_empty() => Decision::unauthorized("Bearer"),
                keys => Decision::AllowKeys(keys),
            }
        }
    }

    #[tokio::test]
    async fn a_right_lasts_as_long_as_the_same_selection_is_granted() {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        let [one, two] = ["one", "two"].map(|name| ApiKey::new(name).unwrap());
        let keys = Keys(Arc::new(Mutex::new(vec![one.clone()])));
        let settings = Settings::default().access(keys.clone());
        let service = Service::new(Metrics::new(store), settings);
        let (head, ()) = Request::get("/api/v1/live").body(()).unwrap().into_parts();
        let query = read_query(&head, Grant::keys([one.clone()])).unwrap();
        assert_eq!(query, Selection::key(one.clone()).into());
        let right = service.right(head, query);
        let cases = [
            (vec![one.clone()], true),
            (vec![], false),
            (vec![two.clone()], false),
            (vec![one, two], false),
        ];
        for (granted, expected) in cases {
            keys.0.lock().unwrap().clone_from(&granted);
            assert_eq!(right().await, expected, "{granted:?}");
        }
    }
}
