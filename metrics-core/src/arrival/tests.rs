//! Texts of clients are reduced to values that many viewers share.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

#[track_caller]
fn check(part: ArrivalPart, cases: &[(&str, Option<&str>)]) {
    for (text, expected) in cases {
        assert_eq!(part.reduce(text).as_deref(), *expected, "{text:?}");
    }
}

#[test]
fn a_referrer_is_its_host() {
    let long = format!("https://{}.example/", "a".repeat(300));
    let longer = format!("https://example.com/?q={}", "a".repeat(100_000));
    let credentials = format!("https://{}@example.com/", "a".repeat(AUTHORITY_BYTES_MAX));
    check(
        ArrivalPart::Referrer,
        &[
            ("https://example.com/a?b=c#d", Some("example.com")),
            ("HTTPS://News.Example.COM.:8443", Some("news.example.com")),
            ("https://me:secret@example.com?x", Some("example.com")),
            ("example.com", Some("example.com")),
            ("example.com/path?next=https://other.example/", Some("example.com")),
            (" https://b\u{fc}cher.example/ ", Some("xn--bcher-kva.example")),
            ("https://www.example.com/", Some("example.com")),
            ("https://www.www.example.com/", Some("example.com")),
            ("https://www.com/", Some("www.com")),
            ("https://wwww.example/", Some("wwww.example")),
            ("android-app://com.google.android.gm/", Some("com.google.android.gm")),
            ("http://intranet/wiki", Some("intranet")),
            (&longer, Some("example.com")),
            // An address may be the viewer's own.
            ("http://192.168.0.7:8123/", None),
            ("http://3232235527/", None),
            ("http://[::1]/", None),
            ("", None),
            ("about:blank", None),
            ("file:///home/me/a.html", None),
            ("https:///", None),
            // Without its end, it would be no name.
            ("http://example.1../", None),
            ("http://.example/", None),
            ("http://www../", None),
            ("a b", None),
            ("http://a\0b/", None),
            (&long, None),
            (&credentials, None),
        ],
    );
}

#[test]
fn a_campaign_is_a_short_text_and_no_address_of_a_person() {
    let long = "\u{e9}".repeat(CAMPAIGN_BYTES_MAX);
    let cut = "\u{e9}".repeat(CAMPAIGN_BYTES_MAX / 2);
    let spaced = format!("{} {}", "a".repeat(CAMPAIGN_BYTES_MAX - 1), "b");
    let huge = format!("{}a", "\u{1}".repeat(1_000_000));
    for part in [ArrivalPart::UtmSource, ArrivalPart::UtmMedium, ArrivalPart::UtmCampaign] {
        check(
            part,
            &[
                ("Spring Sale", Some("Spring Sale")),
                (" a\r\nb\u{7f}\0c\t", Some("abc")),
                ("\u{85}", None),
                ("", None),
                ("  ", None),
                (&long, Some(&cut)),
                (&spaced, Some(&spaced[..CAMPAIGN_BYTES_MAX - 1])),
                (&huge, None),
                ("me@example.com", None),
                ("list-me%40example.com-7", None),
                ("m\u{1}e@\u{1}example", None),
                ("@example", Some("@example")),
                ("example @ home", Some("example @ home")),
            ],
        );
    }
}

#[test]
fn a_country_is_two_letters() {
    check(
        ArrivalPart::Country,
        &[
            ("NL", Some("NL")),
            (" gb ", Some("GB")),
            ("XX", None),
            ("zz", None),
            // Tor, as a proxy names it.
            ("T1", None),
            ("NLD", None),
            ("N", None),
            ("", None),
            ("\u{e9}", None),
        ],
    );
}

#[test]
fn a_site_does_not_refer_to_itself() {
    let page = Source::parse("https://www.example.com/watch").unwrap();
    let arrival = |referrer| Arrival::default().with(ArrivalPart::Referrer, referrer);
    assert_eq!(arrival("https://example.com/").outside(&page), Arrival::default());
    assert_eq!(arrival("https://www.example.com:8443/").outside(&page), Arrival::default());
    let other = arrival("https://sub.example.com/");
    assert_eq!(other.clone().outside(&page), other);
    let campaign = arrival("example.com").with(ArrivalPart::UtmSource, "example.com");
    assert_eq!(campaign.outside(&page).to_json().unwrap(), r#"{"utm_source":"example.com"}"#);
}

#[test]
fn parts_have_names_and_are_kept_as_chosen() {
    let all = ArrivalPart::ALL.into_iter().fold(Arrival::default(), |arrival, part| {
        assert_eq!(ArrivalPart::from_name(part.name()), Some(part));
        arrival.with(part, "NL")
    });
    assert_eq!(all.clone().only(&ArrivalPart::ALL), all);
    let some = all.clone().only(&[ArrivalPart::Referrer, ArrivalPart::Country]);
    assert_eq!(some.to_json().unwrap(), r#"{"country":"NL","referrer":"nl"}"#);
    assert_eq!(all.only(&[]), Arrival::default());
    assert_eq!(Arrival::default().to_json(), None);
    assert_eq!(Arrival::default().bytes(), 0);
}

#[test]
fn other_json_is_refused_and_other_parts_are_ignored() {
    for json in ["", "[]", "1", "null", r#"{"referrer":1}"#] {
        assert_eq!(Arrival::from_json(json), None, "{json}");
    }
    let newer = r#"{"city": "x", "referrer": "a.example"}"#;
    let known = Arrival::default().with(ArrivalPart::Referrer, "a.example");
    assert_eq!(Arrival::from_json(newer), Some(known));
}

proptest! {
    #[test]
    fn a_reduced_value_stays_the_same(
        part in select(ArrivalPart::ALL.to_vec()),
        text in "(https?://)?(www\\.){0,2}[a-z0-9.]{0,9}|(https?://)?(www\\.){0,2}[a-zA-Z@.%40:]{0,20}[/?#]?\\PC{0,200}|[ a-z@%40\u{e9}\u{1}]{0,300}|[a-zA-Z]{2}",
    ) {
        if let Some(value) = part.reduce(&text) {
            prop_assert_eq!(part.reduce(&value), Some(value.clone()));
            prop_assert!(!value.is_empty() && value.len() <= HOST_BYTES_MAX);
            prop_assert!(!value.contains(char::is_control));
            let arrival = Arrival::default().with(part, &text);
            prop_assert_eq!(arrival.get(part), Some(&*value));
            prop_assert_eq!(Arrival::from_json(&arrival.to_json().unwrap()), Some(arrival));
        }
    }
}
