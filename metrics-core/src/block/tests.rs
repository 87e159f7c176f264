//! Blocks return sessions unchanged, and reject invalid bytes.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;

use super::{Block, Columns, Group, Groups, Row, RowId};
use crate::Source;
use crate::arrival::Arrival;
use crate::event::Rendition;
use crate::interval::{Interval, Segments};
use crate::session::{Counters, Details, Minutes, Stored, over};
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::varint::Damaged;

fn segments() -> impl Strategy<Value = Segments> {
    let segment = (0_u32..100_000, 1_u32..5_000);
    let segment =
        segment.prop_filter_map("not empty", |(from, len)| Interval::new(from, from + len));
    prop::collection::vec(segment, 0..4).prop_map(Segments::from_iter)
}

fn minutes() -> impl Strategy<Value = Minutes> {
    let run = (0_i64..100_000_000, 0_i64..10_000_000);
    prop::collection::vec(run, 0..4).prop_map(|runs| {
        let mut minutes = Minutes::default();
        runs.iter().for_each(|(from_ms, len_ms)| minutes.insert(0, *from_ms, from_ms + len_ms));
        minutes
    })
}

/// A number that is mostly 0, and large at times.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), 1 => any::<u32>()]
}

fn details() -> impl Strategy<Value = Details> {
    let rendition = prop::option::of((
        (prop::option::of(any::<u32>()), prop::option::of(any::<u32>())),
        prop::option::of(any::<u32>()),
        prop::option::of("[a-z]{0,5}"),
    ));
    let rendition = rendition.prop_map(|it| {
        it.map(|((width, height), bitrate, codec)| Rendition { width, height, bitrate, codec })
    });
    let numbers = prop::array::uniform10(number());
    let language = prop::option::of(select(vec!["nl", "en", ""]));
    (numbers, rendition, language).prop_map(|(numbers, rendition, language)| {
        let [seeks, fullscreens, tracks, renditions, clamped, seek_waits, wait, rest @ ..] =
            numbers;
        let [scrubbed, others, unplaced] = rest;
        Details {
            seeks,
            fullscreens,
            tracks,
            language: language.map(str::to_owned),
            renditions,
            rendition,
            clamped,
            seek_waits,
            seek_wait_ms: u64::from(wait) << 20,
            scrubbed_ms: u64::from(scrubbed),
            others,
            unplaced_ms: u64::from(unplaced) << 20,
        }
    })
}

fn counters() -> impl Strategy<Value = Counters> {
    let startup_ms = prop::option::of(number());
    (number(), any::<u64>(), number(), startup_ms, details()).prop_map(
        |(rebufferings, rebuffering_ms, failures, startup_ms, details)| Counters {
            rebufferings,
            rebuffering_ms: if rebufferings == 0 { 0 } else { rebuffering_ms },
            failures,
            startup_ms,
            details,
        },
    )
}

fn user_agent() -> impl Strategy<Value = UserAgentClass> {
    (select(Browser::ALL.to_vec()), select(Platform::ALL.to_vec()), select(Device::ALL.to_vec()))
        .prop_map(|(browser, platform, device)| UserAgentClass { browser, platform, device })
}

fn row() -> impl Strategy<Value = Row> {
    let times =
        (prop_oneof![any::<i64>(), -5_i64..5], any::<i64>(), prop::option::of(any::<u32>()));
    let page = select(vec![
        "",
        "http://a.example/",
        "https://b.example:81/x/y",
        "app://host//z",
        "http://[::1]:81/",
    ]);
    let data = select(vec!["", "{}", r#"{"plan":"free"}"#]);
    let arrival = select(vec![
        "{}",
        r#"{"referrer":"a.example","country":"NL"}"#,
        r#"{"referrer":"b.example","utm_source":"a","utm_medium":"b","utm_campaign":"c"}"#,
    ]);
    let arrival = arrival.prop_map(|json| Arrival::from_json(json).unwrap());
    (
        any::<u64>(),
        times,
        (segments(), minutes()),
        (any::<u64>(), any::<u64>()),
        page,
        (data, arrival),
        user_agent(),
        counters(),
    )
        .prop_map(
            |(
                id,
                (start_ms, end_ms, duration_ms),
                (segments, minutes),
                (view_ms, unique_ms),
                page,
                (data, arrival),
                user_agent,
                counters,
            )| Row {
                id: RowId(id),
                page: Source::parse(page),
                user_agent,
                session_data: (!data.is_empty()).then(|| Arc::from(data)),
                arrival,
                stored: Stored {
                    started_at_ms: start_ms,
                    last_event_at_ms: end_ms,
                    duration_ms,
                    view_ms,
                    unique_ms,
                    segments: segments.encode(),
                    minutes,
                    counters,
                    resume: over(),
                },
            },
        )
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(Row::order);
    rows
}

proptest! {
    #[test]
    fn sessions_are_decoded_as_they_were(rows in prop::collection::vec(row(), 0..30)) {
        let block = Block::encode(rows.clone());
        let rows = sorted(rows);
        prop_assert_eq!(block.sessions as usize, rows.len());
        if let [first, .., last] = &rows[..] {
            prop_assert_eq!(block.first_start_ms, first.stored.started_at_ms);
            prop_assert_eq!(block.last_start_ms, last.stored.started_at_ms);
        }
        prop_assert_eq!(block.rows().unwrap(), rows.clone());
        // Open sessions have the same columns.
        if !rows.is_empty() {
            prop_assert_eq!(block.columns(Groups::ALL).unwrap(), Columns::of(&rows));
        }
    }

    #[test]
    fn groups_are_read_alone(rows in prop::collection::vec(row(), 1..10), selected in any::<u16>()) {
        let whole = Block::encode(rows.clone());
        let groups = Group::ALL.into_iter().filter(|group| selected >> *group as u16 & 1 != 0);
        let groups = Groups::from_iter(groups);
        let mut block = whole.clone();
        for group in Group::ALL.into_iter().filter(|group| !groups.has(*group)) {
            block.groups[group as usize] = None;
        }
        let columns = block.columns(groups).unwrap();
        let all = Columns::of(&sorted(rows));
        prop_assert_eq!(&columns.starts, if groups.has(Group::Starts) { &all.starts } else { &columns.starts });
        prop_assert_eq!(columns.starts.len() == 0, !groups.has(Group::Starts));
        prop_assert_eq!(columns.view_ms.len() == 0, !groups.has(Group::Times));
        prop_assert_eq!(columns.has_segments(), groups.has(Group::Segments));
        prop_assert_eq!(columns.has_minutes(), groups.has(Group::Minutes));
        prop_assert_eq!(columns.pages, all.pages.filter(|_| groups.has(Group::Pages)));
        prop_assert_eq!(columns.user_agents, all.user_agents.filter(|_| groups.has(Group::UserAgents)));
        prop_assert_eq!(columns.languages, all.languages.filter(|_| groups.has(Group::Languages)));
        prop_assert_eq!(columns.arrivals, all.arrivals.filter(|_| groups.has(Group::Arrivals)));
    }

    #[test]
    fn damage_is_an_error_or_other_sessions(
        rows in prop::collection::vec(row(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
        sessions in prop::option::of(any::<u32>()),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut block = Block::encode(rows);
        for (group, at, byte) in changes {
            let group = group.index(block.groups.len());
            if let Some(bytes) = &mut block.groups[group] {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        block.sessions = sessions.unwrap_or(block.sessions);
        if let Some(bytes) = &mut block.groups[cut.index(Group::ALL.len())] {
            bytes.truncate(cut.index(2 * bytes.len()));
        }
        // Neither panics, nor reserves memory for billions of sessions.
        let _ = block.rows();
        for group in Group::ALL {
            let _ = block.columns(Groups::NONE.with(group));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        sessions in prop_oneof![0_u32..20, any::<u32>()],
        with_format in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if with_format {
            bytes.insert(0, super::FORMAT);
        }
        for group in Group::ALL {
            let mut block = Block { sessions, ..Block::default() };
            block.groups[group as usize] = Some(bytes.clone());
            let _ = block.columns(Groups::NONE.with(group));
        }
    }
}

fn two_rows_without_values() -> Block {
    let row = Row {
        id: RowId(7),
        page: None,
        user_agent: UserAgentClass::default(),
        session_data: None,
        arrival: Arrival::default(),
        stored: Stored::finished(5, 6, None, &Segments::default()),
    };
    Block::encode(vec![row.clone(), row])
}

#[test]
fn groups_without_values_are_omitted() {
    let block = two_rows_without_values();
    let left_out: Vec<_> = Group::ALL.into_iter().filter(|it| block.group(*it).is_none()).collect();
    assert_eq!(
        left_out,
        [
            Group::Pages,
            Group::SessionData,
            Group::Quality,
            Group::Languages,
            Group::Minutes,
            Group::Arrivals,
        ]
    );
    // Two sessions take two bytes or less in most groups, beside the header of each group.
    assert!(block.bytes() < 60, "{}", block.bytes());
}

#[test]
fn refusals_name_the_fault() {
    let block = two_rows_without_values();
    let starts = Groups::NONE.with(Group::Starts);
    let check = |bytes: Option<&[u8]>, sessions, expected| {
        let mut block = block.clone();
        block.sessions = sessions;
        block.groups[Group::Starts as usize] = bytes.map(<[u8]>::to_vec);
        assert_eq!(block.columns(starts).unwrap_err(), Damaged(expected));
    };
    check(None, 2, "a block lacks a group");
    check(Some(&[3, 10, 0]), 2, "a block was written by a newer version");
    check(Some(&[1, 10, 0]), 2, "a block was written before version 0.1.0");
    check(Some(&[2, 10, 1, 0, 5, 0]), 2, "a block is longer than its sessions");
    check(Some(&[2, 10, 1, 0]), 2, "it ends too early");
    check(Some(&[2, 10, 1, 5, 0]), 2, "the sessions of a block are not in order");
    check(Some(&[2, 10, 9]), 2, "a number has too many bytes");
    check(Some(&[2, 10, 0]), u32::MAX, "a block has too many sessions");
}
