//! Tests write bytes as a client would send them, and read messages.

use std::task::{Context, Waker};

use proptest::prelude::*;
use tokio::io::{AsyncWriteExt as _, duplex};

use super::*;
use crate::fuzzing::frames::Seen;
use crate::outbox::Sink as _;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const FIN: u8 = 0x80;

fn budget() -> Budget {
    Budget::new(1 << 20)
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// The header of a frame: the first byte, the length in its shortest form, the mask bit, no mask.
fn header(first: u8, length: u64) -> Vec<u8> {
    let mut header = vec![first];
    match length {
        0..126 => header.push(0x80 | length as u8),
        126..65_536 => {
            header.push(0x80 | 126);
            header.extend((length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header
}

/// A masked frame, as clients send it.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let (payload, mask) = (payload.as_ref(), [0x1d, 0xc0, 0xff, 0xee]);
    let mut frame = header(first, payload.len() as u64);
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Reads until the connection ends. The client's bytes arrive at most `portion` at a time.
async fn read(bytes: Vec<u8>, portion: usize) -> Vec<Seen> {
    let (mut client, server) = duplex(portion);
    let client = tokio::spawn(async move {
        let _ = client.write_all(&bytes).await;
    });
    let (read, write) = tokio::io::split(server);
    let (mut reader, _write) = split(Vec::new(), read, write, budget());
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Seen::Close(_) | Seen::Refused(_) | Seen::Gone)) {
        seen.push(reader.next().await.into());
    }
    drop((reader, _write));
    client.await.unwrap();
    seen
}

fn read_all(bytes: Vec<u8>, portion: usize) -> Vec<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(read(bytes, portion))
}

/// Sends the frames and then closes the connection, all at once and byte by byte.
#[track_caller]
fn check(frames: &[Vec<u8>], expected: &[Seen]) {
    assert_eq!(read_all(frames.concat(), 1 << 20), expected);
    assert_eq!(read_all(frames.concat(), 1), expected, "byte by byte");
}

#[test]
fn a_frame_is_a_message() {
    check(&[frame(FIN | TEXT, "hello")], &[text("hello"), Seen::Gone]);
    check(&[frame(FIN | TEXT, "")], &[text(""), Seen::Gone]);
    check(&[frame(FIN | BINARY, [0, 255])], &[Seen::Binary(vec![0, 255]), Seen::Gone]);
    let length_in_two_bytes = "x".repeat(300);
    check(&[frame(FIN | TEXT, &length_in_two_bytes)], &[text(&length_in_two_bytes), Seen::Gone]);
    check(
        &[frame(FIN | TEXT, "one"), frame(FIN | TEXT, "two")],
        &[text("one"), text("two"), Seen::Gone],
    );
}

#[test]
fn fragments_are_a_message() {
    check(
        &[frame(TEXT, "a"), frame(CONTINUATION, "b"), frame(FIN | CONTINUATION, "c")],
        &[Seen::Alive, Seen::Alive, text("abc"), Seen::Gone],
    );
    check(
        &[frame(BINARY, [1]), frame(FIN | CONTINUATION, [2]), frame(FIN | TEXT, "next")],
        &[Seen::Alive, Seen::Binary(vec![1, 2]), text("next"), Seen::Gone],
    );
    check(&[frame(TEXT, ""), frame(FIN | CONTINUATION, "")], &[Seen::Alive, text(""), Seen::Gone]);
}

#[test]
fn control_frames_may_come_between_fragments() {
    check(
        &[
            frame(TEXT, "a"),
            frame(FIN | PING, "are you there"),
            frame(FIN | PONG, ""),
            frame(FIN | CONTINUATION, "b"),
        ],
        &[Seen::Alive, Seen::Ping(b"are you there".to_vec()), Seen::Alive, text("ab"), Seen::Gone],
    );
    check(
        &[frame(TEXT, "a"), frame(FIN | CLOSE, 1000_u16.to_be_bytes())],
        &[Seen::Alive, Seen::Close(Some(1000))],
    );
}

#[test]
fn a_message_is_as_long_as_the_limit_and_no_longer() {
    let longest = "x".repeat(MESSAGE_BYTES_MAX);
    check(&[frame(FIN | TEXT, &longest)], &[text(&longest), Seen::Gone]);
    check(&[frame(FIN | TEXT, longest.clone() + "x")], &[Seen::Refused(1009)]);
    check(
        &[frame(TEXT, "x"), frame(FIN | CONTINUATION, &longest[1..])],
        &[Seen::Alive, text(&longest), Seen::Gone],
    );
    check(
        &[frame(TEXT, "x"), frame(FIN | CONTINUATION, &longest)],
        &[Seen::Alive, Seen::Refused(1009)],
    );
    check(&[frame(TEXT, &longest), frame(CONTINUATION, "x")], &[Seen::Alive, Seen::Refused(1009)]);
}

#[test]
fn an_announced_length_is_refused_before_it_is_allocated() {
    for length in [MESSAGE_BYTES_MAX as u64 + 1, 1 << 40, 1 << 62, u64::MAX] {
        check(&[header(FIN | TEXT, length), vec![0; 4]], &[Seen::Refused(1009)]);
    }
}

#[test]
fn a_message_has_a_bounded_number_of_fragments() {
    let fragments = |count: usize| {
        let mut frames = vec![frame(CONTINUATION, ""); count];
        frames[0] = frame(TEXT, "a");
        frames[count - 1] = frame(FIN | CONTINUATION, "z");
        frames
    };
    let mut seen = vec![Seen::Alive; usize::from(FRAGMENTS_MAX) - 1];
    seen.extend([text("az"), Seen::Gone]);
    check(&fragments(FRAGMENTS_MAX.into()), &seen);

    let mut seen = vec![Seen::Alive; FRAGMENTS_MAX.into()];
    seen.push(Seen::Refused(1009));
    check(&fragments(usize::from(FRAGMENTS_MAX) + 1), &seen);
}

#[test]
fn a_broken_protocol_is_refused() {
    for reserved in [0x10, 0x20, 0x40, 0x70] {
        check(&[frame(FIN | reserved | TEXT, "a")], &[Seen::Refused(1002)]);
    }
    for opcode in [0x3, 0x7, 0xB, 0xF] {
        check(&[frame(FIN | opcode, "a")], &[Seen::Refused(1002)]);
    }
    check(&[frame(FIN | CONTINUATION, "of what")], &[Seen::Refused(1002)]);
    check(&[frame(CONTINUATION, "of what")], &[Seen::Refused(1002)]);
    check(&[frame(TEXT, "a"), frame(FIN | TEXT, "b")], &[Seen::Alive, Seen::Refused(1002)]);
    check(&[frame(TEXT, "a"), frame(BINARY, "b")], &[Seen::Alive, Seen::Refused(1002)]);
    check(
        &[frame(TEXT, "a"), frame(FIN | CONTINUATION, "b"), frame(FIN | CONTINUATION, "c")],
        &[Seen::Alive, text("ab"), Seen::Refused(1002)],
    );
    for control in [PING, PONG, CLOSE] {
        check(&[frame(control, "")], &[Seen::Refused(1002)]);
        check(&[frame(FIN | control, [b'x'; 126])], &[Seen::Refused(1002)]);
    }
    check(&[frame(FIN | PING, [7; 125])], &[Seen::Ping(vec![7; 125]), Seen::Gone]);
}

#[test]
fn an_unmasked_frame_is_refused() {
    check(&[b"\x81\x02hi".to_vec()], &[Seen::Refused(1002)]);
    check(&[b"\x82\x00".to_vec()], &[Seen::Refused(1002)]);
    check(&[b"\x89\x00".to_vec()], &[Seen::Refused(1002)]);
    check(&[b"\x88\x02\x03\xe8".to_vec()], &[Seen::Refused(1002)]);
    check(&[frame(TEXT, "a"), b"\x80\x01b".to_vec()], &[Seen::Alive, Seen::Refused(1002)]);
    let mask_of_zeros = b"\x81\x82\0\0\0\0hi".to_vec();
    check(&[mask_of_zeros], &[text("hi"), Seen::Gone]);
}

#[test]
fn text_is_utf8() {
    check(&[frame(FIN | TEXT, "\u{1F3AC}")], &[text("\u{1F3AC}"), Seen::Gone]);
    check(&[frame(FIN | TEXT, [b'a', 0xFF])], &[Seen::Refused(1007)]);
    let (head, tail) = ([0xF0, 0x9F], [0x8E, 0xAC]);
    check(
        &[frame(TEXT, head), frame(FIN | CONTINUATION, tail)],
        &[Seen::Alive, text("\u{1F3AC}"), Seen::Gone],
    );
    check(
        &[frame(TEXT, head), frame(FIN | CONTINUATION, "a")],
        &[Seen::Alive, Seen::Refused(1007)],
    );
    check(
        &[frame(BINARY, head), frame(FIN | CONTINUATION, "a")],
        &[Seen::Alive, Seen::Binary(vec![0xF0, 0x9F, b'a']), Seen::Gone],
    );
}

#[test]
fn a_close_frame_ends_the_stream() {
    let close =
        |code: u16, reason: &[u8]| frame(FIN | CLOSE, [&code.to_be_bytes(), reason].concat());
    check(&[frame(FIN | CLOSE, "")], &[Seen::Close(None)]);
    check(&[close(1001, b"")], &[Seen::Close(Some(1001))]);
    check(&[close(4000, b"going"), frame(FIN | TEXT, "late")], &[Seen::Close(Some(4000))]);
    check(&[frame(FIN | CLOSE, [3])], &[Seen::Refused(1002)]);
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535] {
        check(&[close(code, b"")], &[Seen::Refused(1002)]);
    }
    check(&[close(1000, b"\xFF")], &[Seen::Refused(1007)]);
}

#[test]
fn a_connection_may_end_anywhere() {
    let frame = frame(FIN | TEXT, "x".repeat(200));
    for length in 0..frame.len() {
        assert_eq!(read_all(frame[..length].to_vec(), 1 << 20), [Seen::Gone]);
    }
}

#[tokio::test]
async fn bytes_that_were_read_ahead_come_first() {
    let (mut client, server) = duplex(1 << 20);
    let long = "x".repeat(3 * READ_BYTES_MAX);
    let frames = [frame(FIN | TEXT, "early"), frame(FIN | TEXT, &long)].concat();
    let (ahead, rest) = frames.split_at(frames.len() - 10);
    client.write_all(rest).await.unwrap();
    let (read, write) = tokio::io::split(server);
    let (mut reader, _write) = split(ahead.to_vec(), read, write, budget());
    assert_eq!(Seen::from(reader.next().await), text("early"));
    assert_eq!(Seen::from(reader.next().await), text(&long));
}

/// A socket that waits for a frame has the buffer that small frames need, regardless of earlier messages.
#[tokio::test]
async fn a_socket_keeps_little() {
    let (mut client, server) = duplex(1 << 20);
    let (read, write) = tokio::io::split(server);
    let memory = budget();
    let (mut reader, _write) = split(Vec::new(), read, write, memory.clone());
    assert_eq!(reader.buffer.bytes.capacity(), 0);
    let long = "x".repeat(MESSAGE_BYTES_MAX);
    let half = &long[..MESSAGE_BYTES_MAX / 2];
    let burst = vec![frame(FIN | TEXT, "short"); 10_000].concat();
    for (bytes, messages) in [
        (burst, 10_000),
        (frame(FIN | TEXT, &long), 1),
        ([frame(TEXT, half), frame(FIN | CONTINUATION, half)].concat(), 2),
    ] {
        client.write_all(&bytes).await.unwrap();
        for _ in 0..messages {
            reader.next().await.unwrap();
        }
        client.write_all(&frame(FIN | PING, "")).await.unwrap();
        assert_eq!(Seen::from(reader.next().await), Seen::Ping(Vec::new()));
        assert!(reader.buffer.bytes.capacity() <= READ_BYTES_MAX);
        assert_eq!(memory.used(), 0);
    }
}

/// A message is charged to the budget when a client announces or begins it, and waits while the budget is used up.
#[tokio::test]
async fn a_large_message_is_read_when_there_is_memory_for_it() {
    let (mut client, server) = duplex(1 << 20);
    let (read, write) = tokio::io::split(server);
    let memory = Budget::new(MESSAGE_BYTES_MAX * 2);
    let (mut reader, _write) = split(Vec::new(), read, write, memory.clone());
    let others = memory.try_reserve(MESSAGE_BYTES_MAX * 2).unwrap();
    let long = "x".repeat(3 * READ_BYTES_MAX);
    client.write_all(&frame(FIN | TEXT, "short")).await.unwrap();
    client.write_all(&frame(FIN | TEXT, &long)).await.unwrap();
    client.write_all(&frame(TEXT, "a")).await.unwrap();
    assert_eq!(Seen::from(reader.next().await), text("short"));
    {
        let mut next = std::pin::pin!(reader.next());
        let mut context = Context::from_waker(Waker::noop());
        assert!(next.as_mut().poll(&mut context).is_pending());
        drop(others);
        assert_eq!(Seen::from(next.await), text(&long));
    }
    assert_eq!(Seen::from(reader.next().await), Seen::Alive);
    assert!((1..100).contains(&memory.used()), "{memory:?}");
    drop(reader);
    assert_eq!(memory.used(), 0);
}

/// All fragments of a message share one time limit, and only the time spent reading counts.
#[tokio::test(start_paused = true)]
async fn a_message_in_any_fragments_has_a_time_limit() {
    let (mut client, server) = duplex(1 << 20);
    let (read, write) = tokio::io::split(server);
    let (mut reader, _write) = split(Vec::new(), read, write, budget());
    let began = Instant::now();
    let fragments = [frame(TEXT, "a"), frame(CONTINUATION, "b"), frame(CONTINUATION, "c")];
    let sending = async {
        for fragment in fragments {
            // The rest of each fragment comes later.
            client.write_all(&fragment[..3]).await.unwrap();
            sleep(Duration::from_secs(3)).await;
            client.write_all(&fragment[3..]).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..3 {
            assert_eq!(Seen::from(reader.next().await), Seen::Alive);
        }
    };
    tokio::join!(sending, reading);
    assert_eq!(began.elapsed().as_secs(), 9);
    sleep(Duration::from_secs(100)).await;
    assert!(matches!(reader.next().await, Err(ReadError::Late)));
    assert_eq!(began.elapsed().as_secs(), 110);
}

/// A message that holds no memory waits for memory without a limit. A message that holds a fragment has a time limit.
#[tokio::test(start_paused = true)]
async fn started_messages_do_not_wait_for_each_other_for_ever() {
    let (mut client, server) = duplex(1 << 20);
    let (read, write) = tokio::io::split(server);
    let memory = Budget::new(MESSAGE_BYTES_MAX);
    let (mut reader, _write) = split(Vec::new(), read, write, memory.clone());
    let others = memory.try_reserve(memory.max()).unwrap();
    client.write_all(&[frame(TEXT, "a"), frame(CONTINUATION, "b")].concat()).await.unwrap();
    let began = Instant::now();
    let waiting = async {
        sleep(Duration::from_secs(50)).await;
        drop(others);
    };
    let (seen, ()) = tokio::join!(reader.next(), waiting);
    assert_eq!(Seen::from(seen), Seen::Alive);
    let _others = memory.charge(memory.max());
    assert!(matches!(reader.next().await, Err(ReadError::Late)));
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn messages_at_the_same_time_are_written_at_once() {
    let (mut client, server) = duplex(1 << 20);
    let (read, write) = tokio::io::split(server);
    let (_reader, mut writer) = split(Vec::new(), read, write, budget());
    let long = "x".repeat(300);
    writer.text("hello");
    writer.text(&long);
    writer.pong(b"ping");
    writer.close(1000, "bye");
    {
        let mut byte = [0; 1];
        let mut reading = std::pin::pin!(client.read(&mut byte));
        let polled = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "nothing is written before it is flushed");
    }
    writer.flush().await.unwrap();
    let mut expected = vec![FIN | TEXT, 5];
    expected.extend(b"hello");
    expected.extend([FIN | TEXT, 126, 1, 44]);
    expected.extend(long.as_bytes());
    expected.extend([FIN | PONG, 4]);
    expected.extend(b"ping");
    expected.extend([FIN | CLOSE, 5, 3, 0xe8]);
    expected.extend(b"bye");
    let mut written = vec![0; 1_024];
    let count = client.read(&mut written).await.unwrap();
    assert_eq!(&written[..count], expected);
}

proptest! {
    #[test]
    fn any_cut_of_a_message_is_the_message(
        message in "\\PC{0,200}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        portion in 1_usize..64,
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
        cuts.extend([0, message.len()]);
        cuts.sort_unstable();
        let last = cuts.len() - 2;
        let bytes: Vec<_> = cuts.windows(2).enumerate().flat_map(|(index, cut)| {
            let opcode = if index == 0 { TEXT } else { CONTINUATION };
            let fin = if index == last { FIN } else { 0 };
            frame(fin | opcode, &message.as_bytes()[cut[0]..cut[1]])
        }).collect();
        let mut expected = vec![Seen::Alive; last];
        expected.extend([text(&message), Seen::Gone]);
        prop_assert_eq!(read_all(bytes, portion), expected);
    }

    #[test]
    fn any_frames_come_to_an_end(
        frames in prop::collection::vec(any::<(u8, [u8; 3])>(), 0..20),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let no_reserved_bits = !0x70;
        let mut bytes: Vec<_> = frames
            .iter()
            .flat_map(|(first, payload)| frame(first & no_reserved_bits, payload))
            .collect();
        bytes.extend(garbage);
        read_all(bytes, 1 << 10);
    }
}
