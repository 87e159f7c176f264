//! The page at `/` from outside: its files, its headers, and its access control.

use std::collections::BTreeSet;

use metrics_core::ApiKey;
use metrics_server::{Credentials, EXAMPLE_KEY, Logo, PageLook, Routes, Settings};
use metrics_server_testing::{Answer, TestServer};

const VIDEO: &str = "/page/tide.webm";

/// The maximum size of all texts of the page, compressed with gzip.
const BYTES_MAX: usize = 120 * 1_024;

/// The maximum size of the documents and files that the overview needs, compressed with gzip.
const FIRST_BYTES_MAX: usize = 72 * 1_024;

/// The URLs in an HTML text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    ["src=\"", "href=\""]
        .into_iter()
        .flat_map(|before| text.split(before).skip(1).filter_map(|rest| rest.split('"').next()))
}

async fn text_of(server: &TestServer, path: &str) -> String {
    let answer = server.http("GET", path).send().await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    String::from_utf8(answer.body).unwrap()
}

/// The size of a file, compressed with gzip.
async fn size_of(server: &TestServer, path: &str) -> usize {
    let answer = server.http("GET", path).header("accept-encoding", "gzip").send().await;
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")), "{path}");
    assert_eq!(answer.header("vary"), Some("accept-encoding"), "{path}");
    answer.body.len()
}

/// All files that a document names.
async fn files_of(server: &TestServer, document: &str) -> BTreeSet<String> {
    let page = text_of(server, document).await;
    named(&page).filter(|name| name.starts_with("page/")).map(str::to_owned).collect()
}

/// The size of a document and of the texts that it names. These name no others: a browser requests all at once.
async fn bytes_of(server: &TestServer, document: &str) -> usize {
    let mut bytes = text_of(server, document).await.len();
    for name in files_of(server, document).await {
        if name.ends_with(".webm") {
            continue;
        }
        let path = format!("/{name}");
        let text = text_of(server, &path).await;
        for other in ["url(", "import(", " from '.", "@import"] {
            assert!(!text.contains(other), "{name} names another file: {other}");
        }
        bytes += size_of(server, &path).await;
    }
    bytes
}

#[tokio::test]
async fn all_that_the_page_names_is_there_and_small() {
    let server = TestServer::new().await;
    let first = bytes_of(&server, "/").await;
    assert!(first <= FIRST_BYTES_MAX, "{first} bytes");
    let all = first + bytes_of(&server, "/demo").await;
    assert!(all <= BYTES_MAX, "{all} bytes");
}

/// Each file more delays the first screen.
#[tokio::test]
async fn the_page_is_four_files() {
    let server = TestServer::new().await;
    let expected = ["icon.svg", "main.js", "page.css", "theme.js"].map(|it| format!("page/{it}"));
    assert_eq!(files_of(&server, "/").await, BTreeSet::from(expected));
}

/// Else it would request them before its first report.
#[tokio::test]
async fn the_page_has_the_rights_of_its_caller() {
    let server = TestServer::new().await;
    let page = text_of(&server, "/").await;
    let rights = page.split("data-me=\"").nth(1).unwrap().split('"').next().unwrap();
    let rights = rights.replace("&quot;", "\"").replace("&#123;", "{");
    let rights: serde_json::Value = serde_json::from_str(&rights).unwrap();
    assert_eq!(rights, server.http("GET", "/api/v1/me").send().await.json());
    assert_eq!(rights["role"], "owner");
}

/// The same page works under a prefix, and requests nothing from other hosts.
#[tokio::test]
async fn addresses_on_the_page_are_relative() {
    let server = TestServer::new().await;
    for document in ["/", "/demo"] {
        let page = text_of(&server, document).await;
        let names: Vec<_> = named(&page).collect();
        assert!(names.len() > 3, "{names:?}");
        let is_elsewhere = |name: &str| name.starts_with('/') || name.contains("://");
        assert!(!names.iter().any(|name| is_elsewhere(name)), "{names:?}");
        assert!(!page.contains("{{"), "something was left out: {page}");
    }
}

/// With and without a slash at the end of its URL.
#[tokio::test]
async fn under_a_prefix_the_page_finds_its_parts() {
    for (settings, place) in [
        (Settings::default().prefix("analytics"), "/analytics"),
        (Settings::default().prefix("analytics"), "/analytics/"),
        (Settings::default().prefix("analytics"), "/analytics/demo"),
        (Settings::default().stripped_prefix("analytics"), "/"),
    ] {
        let server = TestServer::with(settings).await;
        let page = text_of(&server, place).await;
        let names: Vec<_> = named(&page).collect();
        assert!(names.len() > 3, "{names:?}");
        assert!(names.iter().all(|name| name.starts_with("/analytics/")), "{names:?}");
    }
}

#[tokio::test]
async fn the_policy_admits_only_files_of_the_page() {
    let server = TestServer::new().await;
    for document in ["/", "/demo"] {
        let answer = server.http("GET", document).send().await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        assert!(policy.ends_with("; frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        let page = String::from_utf8(answer.body).unwrap();
        assert!(!page.contains("<style") && !page.contains(" style="), "{page}");
        let mut scripts = page.split("<script").skip(1);
        let is_file = |script: &str| script.split('>').next().unwrap().contains(" src=");
        assert!(scripts.all(is_file), "{page}");
    }
}

#[tokio::test]
async fn an_operator_names_the_page_and_the_pages_that_may_embed_it() {
    let svg = "<svg xmlns='http://www.w3.org/2000/svg'/>";
    let look = PageLook {
        name: "Video <b>of</b> Acme".to_owned(),
        logo: Some(Logo::new(svg).unwrap()),
        frames: vec!["https://cms.example.com".to_owned(), "https://*.acme.example".to_owned()],
    };
    let server = TestServer::with(Settings::default().page(look)).await;
    let answer = server.http("GET", "/").send().await;
    let policy = answer.header("content-security-policy").unwrap();
    let ancestors = "; frame-ancestors https://cms.example.com https://*.acme.example";
    assert!(policy.ends_with(ancestors), "{policy}");
    let page = String::from_utf8(answer.body).unwrap();
    assert!(page.contains("<title>Video &lt;b>of&lt;/b> Acme</title>"), "{page}");
    assert!(page.contains("data-logo=\"page/logo\""), "{page}");
    let logo = server.http("GET", "/page/logo").send().await;
    assert_eq!((logo.status, logo.header("content-type")), (200, Some("image/svg+xml")));
    let policy = logo.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"), "{policy}");
    assert_eq!(logo.body, svg.as_bytes());
}

#[tokio::test]
async fn a_page_that_cannot_be_embedded_as_it_is_set_is_not_embedded_at_all() {
    let look = PageLook { frames: vec!["https://a.example\n".to_owned()], ..PageLook::default() };
    let server = TestServer::with(Settings::default().page(look)).await;
    let answer = server.http("GET", "/").send().await;
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn only_a_key_that_is_taken_is_on_the_page() {
    let server = TestServer::new().await;
    assert!(!text_of(&server, "/demo").await.contains(EXAMPLE_KEY));
    server.metrics.import_key(&ApiKey::new(EXAMPLE_KEY).unwrap()).await.unwrap();
    for document in ["/", "/demo"] {
        let tag = format!(r#" data-example-key="{EXAMPLE_KEY}""#);
        assert!(text_of(&server, document).await.contains(&tag));
    }
}

async fn range(server: &TestServer, range: &str, tag: Option<&str>) -> Answer {
    let mut request = server.http("GET", VIDEO).header("range", range);
    if let Some(tag) = tag {
        request = request.header("if-range", tag);
    }
    request.send().await
}

#[tokio::test]
async fn a_video_is_answered_in_ranges() {
    let server = TestServer::new().await;
    let whole = server.http("GET", VIDEO).send().await;
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, Some("bytes")));
    assert_eq!(whole.header("content-type"), Some("video/webm"));
    let length = whole.body.len();
    for (requested, part) in [
        ("bytes=0-".to_owned(), 0..length),
        ("bytes=100-199".to_owned(), 100..200),
        (format!("bytes={}-", length - 1), length - 1..length),
        ("bytes=-500".to_owned(), length - 500..length),
    ] {
        let answer = range(&server, &requested, None).await;
        assert_eq!(answer.status, 206, "{requested}");
        let place = format!("bytes {}-{}/{length}", part.start, part.end - 1);
        assert_eq!(answer.header("content-range"), Some(&*place));
        assert_eq!(answer.header("content-length"), Some(&*part.len().to_string()));
        assert!(answer.body == whole.body[part], "{requested}: other bytes");
    }
    let past = range(&server, &format!("bytes={length}-"), None).await;
    assert_eq!(past.status, 416);
    assert_eq!(past.header("content-range"), Some(&*format!("bytes */{length}")));
    assert!(past.error().contains("range"));
    for odd in ["bytes=0-1,5-6", "bytes=9-3", "pages=1-2"] {
        assert_eq!(range(&server, odd, None).await.status, 200, "{odd}");
    }
}

#[tokio::test]
async fn a_range_of_another_version_is_not_mixed_with_this_one() {
    let server = TestServer::new().await;
    let head = server.http("HEAD", VIDEO).header("range", "bytes=0-9").send().await;
    assert_eq!((head.status, head.body.len()), (200, 0), "ranges are of GET only");
    let tag = head.header("etag").unwrap();
    assert_eq!(range(&server, "bytes=0-9", Some(tag)).await.status, 206);
    assert_eq!(range(&server, "bytes=0-9", Some("\"older\"")).await.status, 200);
}

#[tokio::test]
async fn a_cached_page_is_not_sent_again() {
    let server = TestServer::new().await;
    for path in ["/page/main.js", "/page/demo.js", "/page/page.css", "/page/icon.svg", VIDEO] {
        let got = server.http("GET", path).send().await;
        assert!(got.header("cache-control").is_some_and(|it| it != "no-store"), "{got:?}");
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        let tag = got.header("etag").unwrap();
        for with_contents in
            [tag.to_owned(), format!("W/{tag}"), format!("\"a\", {tag}"), "*".to_owned()]
        {
            let request = server.http("GET", path).header("if-none-match", &with_contents);
            let again = request.header("range", "bytes=0-1").send().await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{path} {with_contents}");
            assert_eq!(again.header("etag"), Some(tag));
        }
        let other = server.http("GET", path).header("if-none-match", "\"a\"").send().await;
        assert_eq!(other.status, 200, "{path}");
        let head = server.http("HEAD", path).send().await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), got.header("content-length"));
        assert_eq!(head.header("etag"), Some(tag));
    }
}

#[tokio::test]
async fn files_that_the_page_does_not_have_are_not_found() {
    let server = TestServer::new().await;
    for path in [
        "/page",
        "/page/",
        "/page/index.html",
        "/page/main.js/x",
        "/page/dom.js",
        "/page/logo",
        "/page/..%2fpage.rs",
    ] {
        assert_eq!(server.http("GET", path).send().await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_disabled_page_is_not_found() {
    let off = Settings::default().routes(Routes::ALL.without(Routes::PAGE));
    let guarded = off.clone().access(Credentials::new("ada", "open sesame").unwrap());
    for settings in [off, guarded] {
        let server = TestServer::with(settings).await;
        for path in ["/", "/demo", "/page/main.js", VIDEO] {
            for method in ["GET", "HEAD", "POST"] {
                let status = server.http(method, path).send().await.status;
                assert_eq!(status, 404, "{method} {path}");
            }
        }
        assert_eq!(server.http("GET", "/health/live").send().await.status, 200);
    }
}
