//! `GET /api/v1/openapi.json`: the API, described for programs.
//!
//! Everybody may read it: it says under which path the API is, and is the same for every server of this version else.

use hyper::Response;

use crate::prefix::Prefix;
use crate::response::{self, Body};

/// `OpenAPI` 3.1. A test compares it with the routes, and `scripts/schemathesis` with the answers.
const DOCUMENT: &str = include_str!("openapi.json");

/// The description, whose paths are under `prefix`.
pub(crate) fn document(prefix: &Prefix) -> Response<Body> {
    let document = match prefix.as_str() {
        "" => DOCUMENT.to_owned(),
        path => placed(path),
    };
    response::text("application/json", document)
}

/// Where no server is named, the paths are at the root.
fn placed(path: &str) -> String {
    let servers = serde_json::json!([{ "url": path }]);
    DOCUMENT.replacen('{', &format!("{{\n  \"servers\": {servers},"), 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use hyper::Method;
    use serde_json::{Map, Value};

    use super::*;
    use crate::route::{Report, Route};
    use crate::table::Table;

    fn paths() -> Map<String, Value> {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        document["paths"].as_object().unwrap().clone()
    }

    /// A path that is like the one described.
    fn example(path: &str, key: &str) -> String {
        path.replace("{key}", key)
            .replace("{file}", "page.css")
            .replace("{name}", "device")
            .replace("{id}", "a")
    }

    /// The names of the operations at a path.
    fn methods(item: &Value) -> BTreeSet<String> {
        let names = item.as_object().unwrap().keys().filter(|name| *name != "parameters");
        names.map(|name| name.to_uppercase()).collect()
    }

    /// Numbers all routes. One that is new does not compile before it has a number here, and is missing in the
    /// description then.
    fn number(route: Route<'_>) -> usize {
        match route {
            Route::Page => 0,
            Route::Demo => 32,
            Route::Live => 1,
            Route::Ready => 2,
            Route::Stats => 3,
            Route::OpenApi => 4,
            Route::Script(_) => 17,
            Route::PageFile(_) => 18,
            Route::Socket => 5,
            Route::LongPoll => 19,
            Route::Events => 6,
            Route::Cmcd => 34,
            Route::Keys => 7,
            Route::Key(_) => 8,
            Route::Erase => 26,
            Route::Me => 27,
            Route::Tokens => 28,
            Route::Token(_) => 29,
            Route::SignIn => 30,
            Route::SignOut => 31,
            Route::Report(Report::Plays) => 9,
            Route::Report(Report::Engagement) => 10,
            Route::Report(Report::Sources) => 11,
            Route::Report(Report::Watching) => 12,
            Route::Report(Report::Query) => 20,
            Route::Export(Table::Query) => 21,
            Route::Dimension(_) => 22,
            Route::Report(Report::Videos) => 23,
            Route::Export(Table::Videos) => 24,
            Route::Report(Report::Fields) => 25,
            Route::Report(Report::Live) => 33,
            Route::Export(Table::Plays) => 13,
            Route::Export(Table::Engagement) => 14,
            Route::Export(Table::Sources) => 15,
            Route::Export(Table::Sessions) => 16,
        }
    }

    /// So many they are.
    const ROUTES: usize = 35;

    #[test]
    fn every_route_is_described_with_its_methods_and_nothing_else_is() {
        let mut described: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (path, item) in paths() {
            let example = example(&path, "a/b+c=");
            let route = Route::of(&example);
            let route = route.unwrap_or_else(|| panic!("{path} leads nowhere"));
            let allowed = route.methods().split(", ").map(str::to_owned);
            assert_eq!(methods(&item), allowed.collect(), "{path}");
            described.entry(number(route)).or_default().push(path);
        }
        let missing: Vec<_> =
            (0..ROUTES).filter(|number| !described.contains_key(number)).collect();
        assert!(missing.is_empty() && described.len() == ROUTES, "{missing:?} of {described:?}");
        assert_eq!(described[&number(Route::Events)], ["/api/v1/events", "/v1/events"]);
        assert_eq!(described[&number(Route::Cmcd)], ["/api/v1/cmcd", "/cmcd"]);
        let plays = number(Route::Report(Report::Plays));
        assert_eq!(described[&plays], ["/api/v1/plays", "/api/v1/views"]);
        let script = number(Route::of("/metrics.js").unwrap());
        let components = ["/metrics-components.d.ts", "/metrics-components.js"];
        assert_eq!(described[&script][..2], components);
        assert_eq!(described[&script][2..], ["/metrics.d.ts", "/metrics.js", "/metrics.mjs"]);
    }

    #[test]
    fn guarded_routes_are_described_as_guarded() {
        for (path, item) in paths() {
            let example = example(&path, "a");
            let route = Route::of(&example).unwrap();
            for (method, operation) in item.as_object().unwrap() {
                let name = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let is_described = !matches!(&**method, "options" | "parameters");
                let is_guarded = is_described && route.purpose(&name).is_some();
                assert_eq!(operation.get("security").is_some(), is_guarded, "{method} {path}");
            }
        }
    }

    #[test]
    fn every_operation_has_an_id_of_its_own() {
        let mut ids = BTreeSet::new();
        for (path, item) in paths() {
            let operations = item.as_object().unwrap().iter().filter(|it| it.0 != "parameters");
            for (method, operation) in operations {
                let id = operation["operationId"].as_str().unwrap_or_default();
                let is_camel_case = id.chars().all(|c| c.is_ascii_alphanumeric());
                assert!(
                    id.starts_with(|c: char| c.is_ascii_lowercase()) && is_camel_case,
                    "{method} {path}: {id:?}"
                );
                assert!(ids.insert(id.to_owned()), "{id} is there twice");
            }
        }
    }

    #[test]
    fn references_of_the_description_are_in_it() {
        fn check(document: &Value, value: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|value| check(document, value));
                }
                Value::Array(elements) => elements.iter().for_each(|value| check(document, value)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        check(&document, &document);
    }
}
