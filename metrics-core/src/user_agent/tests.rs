//! Examples of the classes of User-Agents, and properties of the cache.

mod bots;
mod viewers;

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Checks lines of `<browser> <platform> <device> <User-Agent>`, or `bot <User-Agent>`.
#[track_caller]
fn check(lines: &str) {
    check_with_brands(None, lines);
}

#[track_caller]
fn check_with_brands(brands: Option<&str>, lines: &str) {
    let classifier = Classifier::new();
    let mut wrong = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // The User-Agent is the rest of the line, and the class decides where it starts.
        let words = if line.starts_with(BOT) { 1 } else { 3 };
        let mut parts = line.splitn(words + 1, ' ');
        let expected = parts.by_ref().take(words).collect::<Vec<_>>().join(" ");
        let headers = Headers { user_agent: parts.next(), brands };
        let found = match classifier.classify(headers) {
            Classification::Bot => BOT.to_owned(),
            Classification::Viewer(UserAgentClass { browser, platform, device }) => {
                format!("{browser} {platform} {device}")
            }
        };
        if found != expected {
            wrong.push(format!("{found} instead of {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn brands_reveal_a_headless_browser() {
    let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
    let headless = r#""Not/A)Brand";v="8", "Chromium";v="126", "HeadlessChrome";v="126""#;
    check_with_brands(Some(headless), &format!("bot {chrome}"));
    check_with_brands(None, &format!("chrome linux desktop {chrome}"));
}

#[test]
fn brave_is_chrome_unless_the_brands_name_it() {
    let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
    let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 9_3 like Mac OS X) AppleWebKit/601.1 (KHTML, like Gecko) Brave/1.2.11 Mobile/13E233 Safari/601.1.46";
    let bot = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) Chrome/126.0.0.0 Safari/537.36";
    let brave = r#""Not/A)Brand";v="8", "Chromium";v="126", "Brave";v="126""#;
    let google = r#""Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126""#;

    check_with_brands(Some(brave), &format!("brave linux desktop {chrome}"));
    check_with_brands(Some(google), &format!("chrome linux desktop {chrome}"));
    check_with_brands(None, &format!("brave ios mobile {iphone}"));
    check_with_brands(Some(brave), &format!("bot {bot}"));
}

#[test]
fn brands_do_not_hide_behind_the_cache() {
    let classifier = Classifier::new();
    let user_agent = Some("Mozilla/5.0 (Windows NT 10.0) Chrome/126.0.0.0 Safari/537.36");
    let chrome = Headers { user_agent, brands: None };
    let brave = Headers { user_agent, brands: Some(r#""Brave";v="126""#) };

    assert_ne!(classifier.classify(chrome), classifier.classify(brave));
}

#[test]
fn without_a_user_agent_the_class_is_unknown() {
    let nothing = Classification::Viewer(UserAgentClass::default());

    assert_eq!(Classifier::new().classify(Headers::default()), nothing);
}

#[test]
fn only_the_beginning_of_a_long_user_agent_is_examined() {
    let padding = "\u{e9}".repeat(USER_AGENT_BYTES_MAX / 2 - 10);
    let classifier = Classifier::new();
    let classify =
        |text: &str| classifier.classify(Headers { user_agent: Some(text), ..Headers::default() });

    assert_eq!(classify(&format!("{padding}bot")), Classification::Bot);
    assert_ne!(classify(&format!("{padding}{padding}bot")), Classification::Bot);
    assert_eq!(head(&format!("x{padding}{padding}")).len(), USER_AGENT_BYTES_MAX - 1);
}

#[test]
fn the_cache_is_bounded() {
    let classifier = Classifier::new();
    for i in 0..3 * CACHE_ENTRIES_MAX {
        let user_agent = format!("stranger/{i}");
        let headers = Headers { user_agent: Some(&user_agent), ..Headers::default() };
        let _ = classifier.classify(headers);
    }

    // Each shard rounds up, so the bound is not exact.
    assert!(classifier.cache.len() <= CACHE_ENTRIES_MAX * 5 / 4, "{classifier:?}");
}

/// Checks that codes and names of classes are unique, and that codes convert back.
macro_rules! check_codes {
    ($Class:ident) => {
        let codes = $Class::ALL.map($Class::code);
        assert_eq!(codes.map($Class::from_code), $Class::ALL);
        assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len());
        assert!($Class::ALL.map($Class::name).is_sorted());
        assert_eq!($Class::from_code(u8::MAX), $Class::Other);
        assert_eq!($Class::default().to_string(), "other");
    };
}

#[test]
fn a_stored_code_leads_back_to_its_class() {
    check_codes!(Browser);
    check_codes!(Platform);
    check_codes!(Device);
}

#[test]
fn the_rules_name_only_classes_that_exist() {
    for line in include_str!("rules.yaml").lines() {
        let Some((kind, name)) = line.trim().split_once("_replacement: ") else { continue };
        let name = name.trim_matches('\'');
        let known = match kind {
            "family" => name == BOT || Browser::from_name(name).is_some(),
            "os" => Platform::from_name(name).is_some(),
            "device" => Device::from_name(name).is_some(),
            _ => false,
        };
        assert!(known, "{line}");
    }
}

/// Words of the rules, so that random texts come close to matching.
const WORDS: &[&str] = &[
    "Mozilla/5.0 (",
    "Android",
    "Macintosh",
    "Windows NT",
    "iPhone",
    "like Gecko) ",
    "Chrome/",
    "Version/",
    " Safari/",
    "Mobile",
    "cu",
    "bot",
    "Tablet;",
    " TV ",
    "\u{212a}",
    "; wv)",
];

fn user_agent() -> impl Strategy<Value = String> {
    let word =
        prop_oneof![proptest::sample::select(WORDS).prop_map(str::to_owned), any::<String>(),];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn the_cache_changes_no_answer(user_agent in user_agent(), brands in any::<Option<String>>()) {
        let headers = Headers { user_agent: Some(&user_agent), brands: brands.as_deref() };
        let classifier = Classifier::new();

        let first = classifier.classify(headers);
        let cached = classifier.classify(headers);
        let elsewhere = Classifier::new().classify(headers);

        prop_assert_eq!(first, cached);
        prop_assert_eq!(first, elsewhere);
    }
}
