//! The script: caching, compression, and versions.

use std::io::Read as _;

use metrics_server_testing::TestServer;

use super::guarded;

#[tokio::test]
async fn a_page_of_any_origin_may_have_the_script() {
    let server = guarded().await;
    for (path, kind, text) in [
        ("/metrics.js", "text/javascript; charset=utf-8", "document.currentScript"),
        ("/metrics.mjs", "text/javascript; charset=utf-8", "export const{monitor}"),
        ("/metrics.d.ts", "text/plain; charset=utf-8", "export function monitor"),
        ("/metrics-components.js", "text/javascript; charset=utf-8", "customElements.define"),
        ("/metrics-components.d.ts", "text/plain; charset=utf-8", "HTMLElementTagNameMap"),
    ] {
        let got = server.http("GET", path).header("origin", "https://site.example").send().await;
        assert_eq!(got.status, 200, "{got:?}");
        assert!(String::from_utf8_lossy(&got.body).contains(text), "{got:?}");
        for (header, value) in [
            ("content-type", kind),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "public, max-age=600"),
        ] {
            assert_eq!(got.header(header), Some(value), "{path}: {got:?}");
        }
        let head = server.http("HEAD", path).send().await;
        assert_eq!((head.status, &*head.body), (200, &b""[..]), "{head:?}");
        assert_eq!(head.header("etag"), got.header("etag"));
        assert_eq!(head.header("content-length"), got.header("content-length"));
        let posted = server.http("POST", path).send().await;
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[tokio::test]
async fn a_cached_script_is_not_sent_again() {
    let server = TestServer::new().await;
    let got = server.http("GET", "/metrics.js").send().await;
    let tag = got.header("etag").unwrap();
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let request = server.http("GET", "/metrics.js").header("if-none-match", &known);
        let answer = request.send().await;
        assert_eq!((answer.status, &*answer.body), (304, &b""[..]), "{known}: {answer:?}");
        assert_eq!(answer.header("etag"), Some(tag));
        assert_eq!(answer.header("cache-control"), got.header("cache-control"));
    }
    let request = server.http("GET", "/metrics.js").header("if-none-match", "\"another\"");
    assert_eq!(request.send().await.body, got.body);
}

#[tokio::test]
async fn the_script_is_compressed_for_clients_that_accept_it() {
    let server = TestServer::new().await;
    for path in ["/metrics.js", "/metrics.mjs", "/metrics.d.ts", "/metrics-components.js"] {
        let plain = server.http("GET", path).send().await;
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.header("vary"), Some("accept-encoding"));
        for (accepted, name) in [("gzip, deflate, br, zstd", "br"), ("gzip, br;q=0", "gzip")] {
            let got = server.http("GET", path).header("accept-encoding", accepted).send().await;
            let head = server.http("HEAD", path).header("accept-encoding", accepted).send().await;
            assert_eq!(decoded(name, &got.body), plain.body, "{path} {name}");
            assert_eq!((head.status, &*head.body), (200, &b""[..]), "{head:?}");
            for (header, value) in [
                ("content-encoding", name),
                ("content-length", &got.body.len().to_string()),
                ("content-type", plain.header("content-type").unwrap()),
                ("vary", "accept-encoding"),
            ] {
                assert_eq!(got.header(header), Some(value), "{path} {name}");
                assert_eq!(head.header(header), Some(value), "{path} {name}");
            }
        }
    }
}

fn decoded(encoding: &str, mut body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let read = match encoding {
        "br" => brotli::Decompressor::new(&mut body, 4096).read_to_end(&mut decoded),
        _ => flate2::read::GzDecoder::new(&mut body).read_to_end(&mut decoded),
    };
    read.unwrap();
    decoded
}

#[tokio::test]
async fn each_encoding_of_the_script_has_a_tag_of_its_own() {
    let server = TestServer::new().await;
    let get = |encoding| server.http("GET", "/metrics.js").header("accept-encoding", encoding);
    let [plain, gzip, brotli] =
        [get("identity"), get("gzip"), get("br")].map(async |request| request.send().await);
    let (plain, gzip, brotli) = tokio::join!(plain, gzip, brotli);
    let tags = [&plain, &gzip, &brotli].map(|answer| answer.header("etag").unwrap());
    let version = tags[0].trim_matches('"');
    assert_eq!(tags[1..], [format!("\"{version}-gzip\""), format!("\"{version}-br\"")]);
    for (index, encoding) in ["identity", "gzip", "br"].into_iter().enumerate() {
        for (other, tag) in tags.iter().enumerate() {
            let answer = get(encoding).header("if-none-match", tag).send().await;
            let expected = if index == other { 304 } else { 200 };
            assert_eq!(answer.status, expected, "{tag} for {encoding}");
            assert_eq!(answer.header("etag"), Some(tags[index]));
            assert_eq!(answer.header("vary"), Some("accept-encoding"));
            assert_eq!(answer.body.is_empty(), index == other);
        }
    }
}

#[tokio::test]
async fn a_version_of_the_script_never_changes_and_another_leads_to_it() {
    let server = TestServer::new().await;
    for ending in ["js", "mjs"] {
        let current = format!("/metrics.{ending}");
        let got = server.http("GET", &current).send().await;
        let version = got.header("etag").unwrap().trim_matches('"').to_owned();
        let same = server.http("GET", &format!("/metrics.{version}.{ending}")).send().await;
        assert_eq!((same.status, &same.body), (200, &got.body));
        let kept = same.header("cache-control").unwrap();
        assert_eq!(kept, "public, max-age=31536000, immutable");
        let older = server.http("GET", &format!("/metrics.0123456789abcdef.{ending}")).send().await;
        assert_eq!(older.status, 302, "{older:?}");
        assert_eq!(older.header("location"), Some(&current[1..]));
        assert_eq!(older.header("access-control-allow-origin"), Some("*"));
        let other = server.http("GET", &format!("/metrics.latest.{ending}")).send().await;
        assert_eq!(other.status, 404);
    }
}
