//! Connections that outlive a request: websockets, and sessions of clients that poll.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;

use super::Service;
use super::caller::Way;
use crate::error::Error;
use crate::handshake;
use crate::longpoll::{self, Token};
use crate::parameters::parameter;
use crate::permits::Permit;
use crate::phoenix::Version;
use crate::response::Body;
use crate::share::Share;
use crate::socket;

impl Service {
    /// Turns a request into a websocket, which runs as a task of its own.
    pub(super) fn upgrade<B>(&self, request: &mut Request<B>) -> Result<Response<Body>, Error> {
        let query = request.uri().query().unwrap_or_default();
        let version =
            Version::from_vsn(parameter(query, "vsn").as_deref()).ok_or(Error::UnknownVersion)?;
        let response = handshake::accept(request.headers())?;
        let info = Arc::new(self.connection_info(request, Way::Channel).with_query(query));
        let messages = self.inner.memory.messages.clone();
        let held = messages.try_reserve(info.bytes()).ok_or(Error::Memory)?;
        let upgraded = hyper::upgrade::on(&mut *request);
        let (metrics, stopping) = (self.inner.metrics.clone(), self.inner.stopping.clone());
        // The websocket still counts as a connection.
        let extensions = request.extensions_mut();
        let permit = (extensions.remove::<Arc<Permit>>(), extensions.remove::<Arc<Share>>());
        if let (Some(permit), _) = &permit {
            permit.progress.upgrade();
        }
        self.inner.sockets.spawn(async move {
            let _held = (permit, held);
            // Data that is no longer needed is not kept as long as the socket lives.
            let halves = upgraded.await.map(|stream| tokio::io::split(TokioIo::new(stream)));
            match halves {
                Ok(halves) => {
                    socket::run(halves, metrics, version, info, messages, stopping).await;
                }
                Err(err) => {
                    tracing::debug!(error = %err, "a connection ended while it was upgraded");
                }
            }
        });
        Ok(response)
    }

    /// Answers a request of a client that polls.
    pub(super) async fn long_poll<B>(&self, request: Request<B>) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let longpolls = &self.inner.longpolls;
        let query = request.uri().query().unwrap_or_default();
        let token = Token::in_query(query);
        if request.method() == Method::POST {
            let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let has_lines = kind.is_some_and(|kind| kind.starts_with(b"application/x-ndjson"));
            return longpolls.post(token, has_lines, request.into_body()).await;
        }
        if let Some(token) = token {
            return Ok(longpolls.poll(token).await);
        }
        let Some(version) = Version::from_vsn(parameter(query, "vsn").as_deref()) else {
            return Ok(longpoll::forbidden());
        };
        let caller_address = self.caller_address(request.headers(), request.extensions());
        let info = self.connection_info(&request, Way::Channel).with_query(query);
        Ok(longpolls.open(version, info, caller_address))
    }
}
