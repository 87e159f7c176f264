//! Rate limits on secrets, and the eviction of entries.

use tokio::time::advance;

use super::*;

fn at(attempts: &Arc<Attempts>, address: &str) -> Caller {
    attempts.of(Some(CallerAddress(address.parse().unwrap())))
}

fn key(text: impl fmt::Display) -> ApiKey {
    ApiKey::new(&text.to_string()).unwrap()
}

/// Guesses until a guess is refused, and returns the number of guesses that were checked.
fn guess_all(caller: &Caller, name: &str) -> u32 {
    let mut attempted = 0;
    while let Ok(attempt) = caller.attempt(Secret::Key(&key(format!("{name}-{attempted}")))) {
        attempt.wrong();
        attempted += 1;
        assert!(attempted <= 1_000, "there is no end to it");
    }
    attempted
}

#[track_caller]
fn refused(caller: &Caller, secret: &str) -> Option<Duration> {
    match caller.attempt(Secret::Key(&key(secret))) {
        Ok(attempt) => {
            attempt.undecided();
            None
        }
        Err(refused) => Some(refused.retry_after),
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_wrong_secrets_are_refused_for_a_while() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    assert_eq!(guess_all(&caller, "first"), GUESSES.burst);
    assert_eq!(refused(&caller, "next"), Some(GUESSES.every));
    advance(GUESSES.every - Duration::from_secs(1)).await;
    assert_eq!(refused(&caller, "next"), Some(Duration::from_secs(1)));
    advance(Duration::from_secs(1)).await;
    assert_eq!(guess_all(&caller, "second"), 1);
    advance(GUESSES.refill() * 10).await;
    assert_eq!(guess_all(&caller, "third"), GUESSES.burst);
}

#[tokio::test(start_paused = true)]
async fn secrets_from_other_addresses_are_checked() {
    let attempts = Arc::default();
    guess_all(&at(&attempts, "203.0.113.7"), "key");
    assert_eq!(refused(&at(&attempts, "203.0.113.8"), "right"), None);
    assert_eq!(refused(&at(&attempts, "2001:db8::1"), "right"), None);
    assert_eq!(refused(&attempts.of(None), "right"), None);
    assert!(refused(&at(&attempts, "203.0.113.7"), "right").is_some());
}

#[tokio::test(start_paused = true)]
async fn secrets_that_were_correct_from_an_address_are_accepted_from_it() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    caller.attempt(Secret::Key(&key("right"))).unwrap().right();
    guess_all(&caller, "key");
    for _ in 0..3 {
        assert_eq!(refused(&caller, "right"), None);
        caller.attempt(Secret::Key(&key("right"))).unwrap().right();
    }
    assert!(refused(&caller, "another").is_some());
    // The text was right as a key, not as a password.
    assert!(caller.attempt(Secret::Credentials(b"right")).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_same_mistake_counts_once() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    for _ in 0..1_000 {
        caller.attempt(Secret::Credentials(b"mistyped")).unwrap().wrong();
    }
    assert_eq!(guess_all(&caller, "key"), GUESSES.burst - 1);
    assert!(caller.attempt(Secret::Credentials(b"mistyped")).is_ok(), "it is known to be wrong");
}

#[tokio::test(start_paused = true)]
async fn an_undecided_attempt_does_not_count() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    for number in 0..1_000 {
        caller.attempt(Secret::Key(&key(number))).unwrap().undecided();
    }
    let joined = Err::<(), _>(JoinError::Memory);
    for number in 0..1_000 {
        caller.attempt(Secret::Key(&key(number))).unwrap().record_join(&joined);
    }
    assert_eq!(guess_all(&caller, "key"), GUESSES.burst);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_attempt_counts_as_wrong() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    for number in 0..GUESSES.burst {
        drop(caller.attempt(Secret::Key(&key(number))).unwrap());
    }
    assert_eq!(refused(&caller, "next"), Some(GUESSES.every));
    assert_eq!(refused(&caller, "0"), None, "it is known to be wrong");
}

#[tokio::test(start_paused = true)]
async fn concurrent_attempts_never_exceed_the_limit() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    let begin = |name: &str| {
        let all = (0..150).map(|number| key(format!("{name}-{number}")));
        all.filter_map(|key| caller.attempt(Secret::Key(&key)).ok()).collect::<Vec<_>>()
    };
    let first = begin("first");
    assert_eq!(first.len(), GUESSES.burst as usize);
    // A reservation does not expire.
    advance(GUESSES.refill() * 2).await;
    assert_eq!(refused(&caller, "next"), Some(GUESSES.every));
    first.into_iter().for_each(Attempt::right);
    let second = begin("second");
    assert_eq!(second.len(), GUESSES.burst as usize);
    second.into_iter().for_each(Attempt::wrong);
    assert_eq!(begin("third").len(), 0);
    assert_eq!(refused(&caller, "next"), Some(GUESSES.every));
    advance(GUESSES.every).await;
    assert_eq!(begin("fourth").len(), 1);
    attempts.with_state(|seen| assert!(seen.checked.is_empty() && seen.reserved.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn concurrent_attempts_with_the_same_secret_share_a_guess() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    let begin = || caller.attempt(Secret::Credentials(b"same")).unwrap();
    let mut begun: Vec<_> = (0..1_000).map(|_| begin()).collect();
    // The others keep the reservation.
    begun.pop().unwrap().undecided();
    let others = GUESSES.burst - 1;
    assert_eq!(guess_all(&caller, "key"), others);
    begun.into_iter().for_each(Attempt::wrong);
    assert_eq!(refused(&caller, "next"), Some(GUESSES.every));
    attempts.with_state(|seen| assert!(seen.checked.is_empty() && seen.reserved.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn an_address_of_ipv6_is_its_network() {
    let attempts = Arc::default();
    guess_all(&at(&attempts, "2001:db8:1:2::1"), "key");
    assert!(refused(&at(&attempts, "2001:db8:1:2:ffff::9"), "right").is_some());
    assert_eq!(refused(&at(&attempts, "2001:db8:1:3::1"), "right"), None);
}

#[tokio::test(start_paused = true)]
async fn an_address_of_ipv4_is_itself_however_it_is_written() {
    let attempts = Arc::default();
    guess_all(&at(&attempts, "::ffff:203.0.113.7"), "key");
    assert!(refused(&at(&attempts, "203.0.113.7"), "right").is_some());
    assert_eq!(refused(&at(&attempts, "::ffff:203.0.113.8"), "right"), None);
}

#[tokio::test(start_paused = true)]
async fn eviction_resets_no_attempts() {
    let attempts = Arc::default();
    let caller = at(&attempts, "203.0.113.7");
    guess_all(&caller, "key");
    advance(KEPT - Duration::from_secs(1)).await;
    guess_all(&caller, "again");
    advance(Duration::from_secs(1)).await;
    // The first entries are in the old generation now.
    assert!(refused(&caller, "right").is_some());
}

#[tokio::test(start_paused = true)]
async fn unused_entries_are_evicted_and_free_their_memory() {
    let mut recent = Recent::new(100);
    for hash in 0..100 {
        recent.insert(hash, (), Instant::now());
    }
    assert_eq!(recent.get(7, Instant::now()), Some(()));
    advance(KEPT).await;
    assert_eq!(recent.get(7, Instant::now()), Some(()), "it was used");
    advance(KEPT).await;
    assert_eq!(recent.get(7, Instant::now()), Some(()), "it was used again");
    assert_eq!(recent.get(8, Instant::now()), None);
    advance(KEPT * 3).await;
    assert_eq!(recent.get(7, Instant::now()), None);
    assert_eq!((recent.young.capacity(), recent.old.capacity()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_kept_events_is_bounded() {
    let (mut recent, now) = (Recent::new(100), Instant::now());
    for hash in 0..100_000 {
        recent.insert(hash, (), now);
        // Uses the entry all the time.
        assert_eq!(recent.get(0, now), Some(()));
        assert!(recent.young.len() <= 100 && recent.old.len() <= 100);
    }
    assert_eq!(recent.get(99_999, now), Some(()));
    assert_eq!(recent.get(50_000, now), None);
}

#[test]
fn an_address_shows_in_no_log() {
    let caller_address = CallerAddress("203.0.113.7".parse().unwrap());
    let caller = Arc::new(Attempts::default()).of(Some(caller_address));
    assert_eq!(format!("{caller_address:?} {caller:?}"), "CallerAddress(..) Caller(..)");
}

#[track_caller]
fn check_forwarded(lines: &[&str], expected: Option<&str>) {
    check_hops(lines, 1, expected);
}

#[track_caller]
fn check_hops(lines: &[&str], hops: usize, expected: Option<&str>) {
    let name = HeaderName::from_static("x-forwarded-for");
    let lines = lines.iter().map(|line| (name.clone(), line.parse().unwrap()));
    let headers = lines.fold(HeaderMap::new(), |mut headers, (name, line)| {
        headers.append(name, line);
        headers
    });
    let expected = expected.map(|address| CallerAddress(address.parse().unwrap()));
    let hops = NonZeroUsize::new(hops).unwrap();
    assert!(CallerAddress::forwarded(&headers, &name, hops) == expected, "{headers:?}");
}

#[test]
fn of_the_addresses_that_a_header_names_the_last_one_counts() {
    check_forwarded(&["203.0.113.7"], Some("203.0.113.7"));
    // Clients may send the header with any elements.
    check_forwarded(&["198.51.100.1, 10.0.0.1,203.0.113.7 "], Some("203.0.113.7"));
    check_forwarded(&["198.51.100.1", "203.0.113.7"], Some("203.0.113.7"));
    check_forwarded(&["203.0.113.7:4711"], Some("203.0.113.7"));
    check_forwarded(&["2001:db8::1"], Some("2001:db8::1"));
    check_forwarded(&["[2001:db8::1]"], Some("2001:db8::1"));
    check_forwarded(&["[2001:db8::1]:4711"], Some("2001:db8::1"));
    for invalid in ["", "unknown", "203.0.113.7,", "203.0.113.7, unknown", "[203.0.113.7"] {
        check_forwarded(&[invalid], None);
    }
    check_forwarded(&[], None);
}

/// Each proxy appends the address of its client. Clients may make up the elements before.
#[test]
fn behind_several_proxies_an_earlier_address_counts() {
    let one = ["198.51.100.1, 203.0.113.7, 10.0.0.2"];
    check_hops(&one, 2, Some("203.0.113.7"));
    check_hops(&["198.51.100.1", "203.0.113.7", "10.0.0.2"], 2, Some("203.0.113.7"));
    check_hops(&["198.51.100.1, 203.0.113.7", "10.0.0.2"], 2, Some("203.0.113.7"));
    check_hops(&one, 3, Some("198.51.100.1"));
    // A client that bypasses the outer proxy is known by the inner proxy.
    check_hops(&["203.0.113.7"], 2, Some("203.0.113.7"));
    check_hops(&["unknown, 10.0.0.2"], 2, None);
    check_hops(&[], 2, None);
}
