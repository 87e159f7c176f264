//! The classification of requests by the site of their page.

use super::*;
use crate::auth::Credentials;
use crate::hosts::Hosts;
use crate::page::PageLook;
use hyper::{Request, StatusCode};

const SITE: &str = "https://site.example";

fn head(method: Method, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn decide(settings: &Settings, purpose: Purpose, method: Method, headers: &[(&str, &str)]) -> u16 {
    let result = check(settings, purpose, &head(method, headers), false);
    result.map_or_else(|err| err.into_response().status().as_u16(), |()| 200)
}

/// Checks whether a report is rejected by a server that allows all origins and hosts.
#[track_caller]
fn check_report(headers: &[(&str, &str)], allowed: bool) {
    let settings = Settings::default().hosts(Hosts::Any);
    let status = decide(&settings, Purpose::Report, Method::POST, headers);
    assert_eq!(status, if allowed { 200 } else { 403 }, "{headers:?}");
}

#[test]
fn the_site_that_a_browser_reports_decides() {
    for (site, allowed) in
        [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)]
    {
        check_report(&[("sec-fetch-site", site)], allowed);
        check_report(&[("sec-fetch-site", site), ("host", "a"), ("origin", SITE)], allowed);
    }
    check_report(&[("sec-fetch-site", "a-later-value")], false);
    check_report(&[], true);
}

#[test]
fn else_the_origin_must_be_the_servers_own() {
    for (origin, host, allowed) in [
        ("http://localhost:3000", "localhost:3000", true),
        ("http://a.example", "a.example", true),
        ("http://a.example", "a.example:80", true),
        ("https://a.example", "A.example:443", true),
        ("https://[2001:db8::1]:3000", "[2001:db8::1]:3000", true),
        ("https://a.example", "a.example:80", false),
        ("http://a.example:3000", "a.example", false),
        ("http://a.example:3000", "a.example:3001", false),
        ("http://b.example", "a.example", false),
        ("http://a.example.evil", "a.example", false),
        ("null", "a.example", false),
        ("file://", "a.example", false),
        ("", "a.example", false),
    ] {
        check_report(&[("origin", origin), ("host", host)], allowed);
    }
    check_report(&[("origin", SITE)], false);
}

#[test]
fn a_proxy_may_report_the_name_of_the_server() {
    let rewritten = [("origin", SITE), ("host", "10.0.0.7:3000")];
    check_report(&rewritten, false);
    for (name, value, allowed) in [
        ("x-forwarded-host", "site.example", true),
        ("x-forwarded-host", "site.example, inner.example", true),
        ("x-forwarded-host", "inner.example, site.example", false),
    ] {
        check_report(&[&rewritten[..], &[(name, value)]].concat(), allowed);
    }
    let own = [("origin", SITE), ("host", "site.example")];
    check_report(&[&own[..], &[("x-forwarded-proto", "https")]].concat(), true);
    check_report(&[&own[..], &[("x-forwarded-proto", "http")]].concat(), false);
}

#[test]
fn listed_origins_read_reports_and_nothing_else() {
    use Purpose::{CreateKey, ListKeys, Page, Report, RevokeKey, Stats};

    let foreign = [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("origin", SITE)];
    let listed = Cors::Listed(vec![SITE.to_owned()]);
    let other = Cors::Listed(vec!["https://other.example".to_owned()]);
    for (cors, reports) in [(Cors::Own, 403), (other, 403), (listed, 200), (Cors::Any, 200)] {
        let settings = Settings::default().cors(cors);
        for purpose in [Report, Page, Stats, ListKeys, CreateKey, RevokeKey] {
            let expected = if purpose == Report { reports } else { 403 };
            let status = decide(&settings, purpose, Method::GET, &foreign);
            assert_eq!(status, expected, "{settings:?} {purpose:?}");
        }
    }
}

#[test]
fn links_may_be_followed_but_not_framed_and_forms_not_sent() {
    let link = |dest| {
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", dest)]
    };
    let settings = Settings::default();
    for (purpose, method, dest, expected) in [
        (Purpose::Page, Method::GET, "document", 200),
        (Purpose::Report, Method::GET, "document", 200),
        (Purpose::Page, Method::GET, "iframe", 403),
        (Purpose::Report, Method::GET, "image", 403),
        (Purpose::Report, Method::POST, "document", 403),
        (Purpose::CreateKey, Method::POST, "document", 403),
    ] {
        assert_eq!(decide(&settings, purpose, method, &link(dest)), expected, "{purpose:?} {dest}");
    }
    // The browser compares the page around the frame with the policy of the page.
    let look = PageLook { frames: vec![SITE.to_owned()], ..PageLook::default() };
    let framed = Settings::default().page(look);
    for (purpose, method, expected) in [
        (Purpose::Page, Method::GET, 200),
        (Purpose::Page, Method::POST, 403),
        (Purpose::Report, Method::GET, 403),
        (Purpose::CreateKey, Method::GET, 403),
    ] {
        assert_eq!(decide(&framed, purpose, method, &link("iframe")), expected, "{purpose:?}");
    }
}

#[test]
fn requests_that_change_something_must_have_the_type_json() {
    for (kind, allowed) in [
        (Some("application/json"), true),
        (Some("Application/JSON; charset=utf-8"), true),
        (Some("text/plain"), false),
        (Some("text/plain; application/json"), false),
        (Some("application/x-www-form-urlencoded"), false),
        (Some("multipart/form-data; boundary=a"), false),
        (None, false),
    ] {
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let head = head(Method::POST, &headers);
        let settings = Settings::default();
        let status = check(&settings, Purpose::CreateKey, &head, true)
            .map_or_else(|err| err.into_response().status(), |()| StatusCode::OK);
        let refused = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        assert_eq!(status, if allowed { StatusCode::OK } else { refused }, "{kind:?}");
        assert!(check(&settings, Purpose::CreateKey, &head, false).is_ok());
        assert!(check(&settings, Purpose::Report, &head, true).is_ok());
        let (mut revoke, purpose) = (head, Purpose::RevokeKey);
        revoke.method = Method::DELETE;
        assert!(check(&settings, purpose, &revoke, true).is_ok());
    }
}

#[test]
fn without_authentication_unlisted_names_are_not_answered() {
    let evil = [("host", "evil.example"), ("origin", "http://evil.example")];
    let (open, listed) = (Settings::default(), Hosts::Listed(vec!["evil.example".to_owned()]));
    assert_eq!(decide(&open, Purpose::Report, Method::GET, &evil), 421);
    assert_eq!(decide(&open, Purpose::RevokeKey, Method::DELETE, &evil), 421);
    assert_eq!(decide(&open.hosts(listed), Purpose::Report, Method::GET, &evil), 200);
    let guarded = Settings::default().access(Credentials::new("a", "b").unwrap());
    assert_eq!(decide(&guarded, Purpose::Report, Method::GET, &evil), 200);
}
