//! A line of a spool file: one session, with its inputs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::arrival::Arrival;
use crate::event::{CheckedEvent, Step};
use crate::key::{ApiKey, SessionId};
use crate::recorder::entry::{Past, Spilled};
use crate::recorder::input::Input;
use crate::session::Moment;
use crate::source::Source;
use crate::store::Subject;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::Video;

/// A line of a file: a session.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Line {
    id: String,
    key: String,
    identifier: Option<String>,
    metadata: Option<String>,
    page: Option<String>,
    // Codes of browser, platform and device.
    client: [u8; 3],
    session_data: Option<String>,
    // JSON.
    arrival: Option<String>,
    past: Past,
    inputs: Vec<SpooledInput>,
}

/// An input of a session.
#[derive(Debug, Deserialize, Serialize)]
struct SpooledInput {
    received_ms: i64,
    #[serde(flatten)]
    kind: SpooledKind,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum SpooledKind {
    Event {
        step: Step,
        duration_ms: Option<u32>,
        // By the player's clock, shifted by an unknown offset.
        clock_ms: Option<i64>,
        print: Option<u32>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_text: bool,
    },
    Resume,
    Lose,
    Leave,
    Checkpoint,
}

impl Line {
    pub(super) fn new(spilled: &Spilled) -> Self {
        let Subject { key, video, source, user_agent, session_data, arrival } = &*spilled.subject;
        Self {
            id: format!("{:?}", spilled.id),
            key: key.as_str().to_owned(),
            identifier: video.identifier().map(str::to_owned),
            metadata: video.metadata().map(str::to_owned),
            page: source.as_ref().map(|source| source.as_str().to_owned()),
            client: [
                user_agent.browser.code(),
                user_agent.platform.code(),
                user_agent.device.code(),
            ],
            session_data: session_data.clone(),
            arrival: arrival.to_json(),
            past: spilled.past,
            inputs: spilled.inputs.iter().map(SpooledInput::new).collect(),
        }
    }

    /// The session, or `None` if it is not one.
    pub(super) fn session(self) -> Option<Spilled> {
        let metadata = match &self.metadata {
            Some(metadata) => Some(serde_json::from_str(metadata).ok()?),
            None => None,
        };
        let source = match &self.page {
            Some(page) => Some(Source::parse(page)?),
            None => None,
        };
        let arrival = match &self.arrival {
            Some(arrival) => Arrival::from_json(arrival)?,
            None => Arrival::default(),
        };
        let [browser, platform, device] = self.client;
        let id = SessionId::from_bytes(u128::from_str_radix(&self.id, 16).ok()?.to_be_bytes());
        let subject = Arc::new(Subject {
            key: ApiKey::new(&self.key).ok()?,
            video: Video::new(self.identifier, metadata)?,
            source,
            user_agent: UserAgentClass {
                browser: Browser::from_code(browser),
                platform: Platform::from_code(platform),
                device: Device::from_code(device),
            },
            session_data: self.session_data,
            arrival,
        });
        let inputs = self.inputs.into_iter().map(SpooledInput::input).collect();
        Some(Spilled { id, subject, past: self.past, inputs })
    }
}

impl SpooledInput {
    fn new(input: &Input) -> Self {
        let kind = match input {
            Input::Event(event, at) => SpooledKind::Event {
                step: event.step.clone(),
                duration_ms: event.duration_ms,
                clock_ms: at.timestamp_ms,
                print: event.fingerprint,
                is_text: event.has_text_position,
            },
            Input::Resume(_) => SpooledKind::Resume,
            Input::Lose(_) => SpooledKind::Lose,
            Input::Leave(_) => SpooledKind::Leave,
            Input::Checkpoint(_) => SpooledKind::Checkpoint,
        };
        Self { received_ms: input.received_ms(), kind }
    }

    fn input(self) -> Input {
        let at = Moment::received(self.received_ms);
        match self.kind {
            SpooledKind::Event { step, duration_ms, clock_ms, print, is_text } => {
                let event = CheckedEvent {
                    step,
                    duration_ms,
                    timestamp_ms: clock_ms,
                    fingerprint: print,
                    has_text_position: is_text,
                };
                Input::Event(event, Moment { timestamp_ms: clock_ms, ..at })
            }
            SpooledKind::Resume => Input::Resume(at),
            SpooledKind::Lose => Input::Lose(at),
            SpooledKind::Leave => Input::Leave(at),
            SpooledKind::Checkpoint => Input::Checkpoint(at),
        }
    }
}
