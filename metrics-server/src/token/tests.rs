//! Tokens that are accepted, and all ways to forge one.

use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;

fn tokens() -> Tokens {
    Tokens::new([7; 32]).unwrap()
}

fn key(name: &str) -> ApiKey {
    ApiKey::new(name).unwrap()
}

/// A token with a header and claims, signed with a secret.
fn made(header: &Value, claims: &Value, secret: &[u8]) -> String {
    encode(secret, header, &claims.to_string())
}

fn hs256() -> Value {
    json!({ "alg": "HS256", "typ": "JWT" })
}

/// Claims with the required ones.
fn with(claims: &Value) -> Value {
    let mut all = json!({ "exp": NOW + 60, "scope": "read" });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    all
}

#[track_caller]
fn check(claims: &Value, expected: &Result<(), InvalidToken>) {
    let token = made(&hs256(), claims, &[7; 32]);
    assert_eq!(tokens().verify(&token, NOW).map(drop), *expected, "{claims}");
}

#[track_caller]
fn check_claim(claims: &Value, expected: &str) {
    let token = made(&hs256(), &with(claims), &[7; 32]);
    match tokens().verify(&token, NOW) {
        Err(InvalidToken::Claim(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("{claims}: {other:?}"),
    }
}

#[test]
fn the_example_of_the_standard_has_its_signature() {
    // RFC 7515, appendix A.1.
    let secret = BASE64_URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
        eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
        dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(opened(token, &secret).unwrap()["iss"], "joe");
    assert_eq!(opened(token, b"another"), Err(InvalidToken::Signature));
    // A secret that is longer than a block: RFC 4231, test case 6.
    let long = mac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
    let first: [u8; 4] = long.finalize().into_bytes()[..4].try_into().unwrap();
    assert_eq!(first, [0x60, 0xe4, 0x31, 0x59]);
}

#[test]
fn a_signed_token_has_its_claims() {
    let claims = with(&json!({
        "jti": "a",
        "sub": "Ada",
        "by": "eve",
        "scope": ["read", "live"],
        "identifier": "intro",
        "query": { "video": { "course": "knots" } },
        "filters": ["is", "device", ["mobile"]],
        "metrics": ["plays", "engagement", "watching"],
    }));
    let claims = Claims::read(claims.as_object().unwrap(), NOW).unwrap();
    for keys in [None, Some(vec![key("a")]), Some(vec![key("a"), key("b/+=")])] {
        let mut claims = claims.clone();
        claims.within.keys = keys;
        let token = tokens().sign(&claims);
        assert_eq!(tokens().verify(&token, NOW), Ok(claims));
        let other = Tokens::new([8; 32]).unwrap();
        assert_eq!(other.verify(&token, NOW), Err(InvalidToken::Signature));
    }
}

#[test]
fn times_limit_a_token() {
    check(&with(&json!({})), &Ok(()));
    check(&with(&json!({ "exp": NOW })), &Err(InvalidToken::Expired));
    check(&with(&json!({ "exp": NOW + 1 })), &Ok(()));
    check(&with(&json!({ "exp": NOW as f64 + 1.5 })), &Ok(()));
    check(&json!({ "scope": "read" }), &Err(InvalidToken::NoExpiry));
    check(&with(&json!({ "exp": NOW + (DAYS_MAX + 1) * 86_400 })), &Err(InvalidToken::NoExpiry));
    check(&with(&json!({ "nbf": NOW + 30, "iat": NOW + 30 })), &Ok(()));
    check(&with(&json!({ "nbf": NOW + 61 })), &Err(InvalidToken::Early));
    check(&with(&json!({ "iat": NOW + 61 })), &Err(InvalidToken::Early));
    for exp in [json!("1900000000"), json!(null), json!(-1), json!(1e300), json!([NOW + 1])] {
        check_claim(&json!({ "exp": exp }), "`exp` must be");
    }
}

#[test]
fn claims_that_are_not_understood_are_refused() {
    for (claims, expected) in [
        (json!({ "filter": [] }), "`filter` is none of"),
        (json!({ "role": "owner" }), "`role` is none of"),
        (json!({ "scope": "admin" }), "`scope`"),
        (json!({ "scope": "read admin" }), "`scope`"),
        (json!({ "scope": [] }), "`scope`"),
        (json!({ "scope": null }), "`scope`"),
        (json!({ "key": null }), "`key`"),
        (json!({ "key": ["a", 1] }), "`key`"),
        (json!({ "identifier": null }), "`identifier`"),
        (json!({ "query": null }), "`query`"),
        (json!({ "query": { "key": null } }), "`query`"),
        (json!({ "query": { "session": null, "key": "a" } }), "`query`"),
        (json!({ "jti": "a\0" }), "`jti`"),
        (json!({ "jti": "\nsession\nada" }), "`jti`"),
        (json!({ "by": "" }), "`by`"),
        (json!({ "by": null }), "`by`"),
        (json!({ "by": "a".repeat(129) }), "`by`"),
        (json!({ "query": { "videos": {} } }), "`query`"),
        (json!({ "filters": null }), "filters"),
        (json!({ "filters": [["is", "city", ["NL"]]] }), "city"),
        (json!({ "filters": [["not", ["is", "hour_of_day", ["9"]]]] }), "time zone"),
        (json!({ "filters": ["or", ["is", "day_of_week", ["1"]]] }), "time zone"),
        (json!({ "metrics": ["revenue"] }), "`metrics`"),
        (json!({ "metrics": "plays" }), "`metrics`"),
        (json!({ "metrics": null }), "`metrics`"),
        (json!({ "jti": "" }), "`jti`"),
        (json!({ "jti": 1 }), "`jti`"),
    ] {
        check_claim(&claims, expected);
    }
    check(&with(&json!({ "iss": "shop", "aud": "metrics", "metrics": [] })), &Ok(()));
}

/// Libraries keep one of two members with a name, and not all the same one.
#[test]
fn a_claim_occurs_once() {
    let with = |member: &str| {
        let claims = format!(r#"{{"exp":{},"scope":"read",{member}}}"#, NOW + 60);
        tokens().verify(&encode(&[7; 32], &hs256(), &claims), NOW)
    };
    assert!(with(r#""key":"a""#).is_ok());
    for twice in [
        r#""key":"a","key":"b""#,
        r#""key":"a","\u006bey":"a""#,
        r#""query":{"key":"a","key":"b"}"#,
        r#""query":{"video":{"key":1,"key":2}}"#,
    ] {
        match with(twice) {
            Err(InvalidToken::Claim(text)) => assert!(text.starts_with("`key` occurs twice")),
            other => panic!("{twice}: {other:?}"),
        }
    }
    let header = r#"{"alg":"HS256","kid":"b","kid":"a"}"#;
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"exp":{},"scope":"read"}}"#, NOW + 60);
    let signed = format!("{}.{}", part(header), part(&claims));
    let secret = tokens().secret_of(&key("a"));
    let signature = mac(secret.as_bytes(), signed.as_bytes()).finalize().into_bytes();
    let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(tokens().verify(&token, NOW), Err(InvalidToken::Malformed));
}

#[test]
fn only_hs256_is_accepted() {
    for alg in ["none", "None", "", "HS384", "HS512", "RS256", "ES256", "hs256"] {
        let token = made(&json!({ "alg": alg }), &with(&json!({})), &[7; 32]);
        assert_eq!(tokens().verify(&token, NOW), Err(InvalidToken::Algorithm), "{alg}");
    }
    let unsigned = made(&json!({ "alg": "none" }), &with(&json!({})), &[7; 32]);
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    assert_eq!(tokens().verify(&unsigned, NOW), Err(InvalidToken::Algorithm));
    let critical = json!({ "alg": "HS256", "crit": ["b64"], "b64": false });
    let token = made(&critical, &with(&json!({})), &[7; 32]);
    assert_eq!(tokens().verify(&token, NOW), Err(InvalidToken::Algorithm));
}

#[test]
fn every_changed_byte_is_noticed() {
    let token = made(&hs256(), &with(&json!({ "key": "a" })), &[7; 32]);
    assert!(tokens().verify(&token, NOW).is_ok());
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(tokens().verify(&changed, NOW).is_err(), "{at}");
    }
    for odd in ["", ".", "..", "a.b.c", &format!("{token}="), &format!("{token}.a"), &token[1..]] {
        assert!(tokens().verify(odd, NOW).is_err(), "{odd}");
    }
    let long = made(&hs256(), &with(&json!({ "iss": "a".repeat(TOKEN_BYTES_MAX) })), &[7; 32]);
    assert_eq!(tokens().verify(&long, NOW), Err(InvalidToken::Malformed));
}

#[test]
fn the_secret_of_a_key_signs_for_that_key_only() {
    let of_a = |kid: &str, claims: Value| {
        let header = json!({ "alg": "HS256", "kid": kid });
        made(&header, &with(&claims), tokens().secret_of(&key("a")).as_bytes())
    };
    let keys = |token: &str| tokens().verify(token, NOW).map(|claims| claims.within.keys);
    assert_eq!(keys(&of_a("a", json!({}))), Ok(Some(vec![key("a")])));
    assert_eq!(keys(&of_a("a", json!({ "key": "a" }))), Ok(Some(vec![key("a")])));
    for wider in [
        json!({ "key": "b" }),
        json!({ "key": ["a", "b"] }),
        json!({ "key": [] }),
        json!({ "query": { "key": "b" } }),
    ] {
        assert!(matches!(keys(&of_a("a", wider)), Err(InvalidToken::Claim(_))));
    }
    assert_eq!(keys(&of_a("b", json!({}))), Err(InvalidToken::Signature));
    assert_eq!(keys(&of_a("", json!({}))), Err(InvalidToken::Signature));
    // Without `kid`, the secret is that of the server.
    let token = made(&hs256(), &with(&json!({})), tokens().secret_of(&key("a")).as_bytes());
    assert_eq!(keys(&token), Err(InvalidToken::Signature));
    let token = made(&json!({ "alg": "HS256", "kid": "a" }), &with(&json!({})), &[7; 32]);
    assert_eq!(keys(&token), Err(InvalidToken::Signature));
    assert_ne!(tokens().secret_of(&key("a")), tokens().secret_of(&key("b")));
}

#[test]
fn secrets_are_long_and_not_shown() {
    assert!(Tokens::new([0; 31]).is_none());
    assert_eq!(format!("{:?}", Tokens::new([0; 32])), "Some(Tokens(..))");
}
