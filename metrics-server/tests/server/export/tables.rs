//! Reports as files equal the reports.

use serde_json::{Value, json};

use super::{all, export, filled, read_csv, read_ndjson, with};

#[tokio::test]
async fn a_report_is_the_same_as_a_file() {
    let (server, key) = filled().await;
    let ndjson = |parameters: &Value| with(parameters, "format", &json!("ndjson"));
    let all = all(&key);
    for (table, list, parameters) in [
        ("plays", "views", all.clone()),
        ("sources", "sources", all.clone()),
        ("engagement", "engagement", with(&all, "ranges", &json!(4))),
    ] {
        let report = server.report(table, &parameters).await;
        let rows = report[list].as_array().unwrap();
        assert!(3 < rows.len(), "{table}");
        let exported = export(&server, table, &ndjson(&parameters)).await;
        assert_eq!(&read_ndjson(str::from_utf8(&exported.body).unwrap()), rows, "{table}");
        let lines = export(&server, table, &parameters).await;
        let lines = read_csv(str::from_utf8(&lines.body).unwrap());
        assert_eq!(lines.len(), rows.len(), "{table}");
        for (line, row) in lines.iter().zip(rows) {
            for (name, cell) in line {
                let value = match name.split_once('_') {
                    Some((class @ ("browser" | "device" | "platform"), name)) => &row[class][name],
                    _ if table == "engagement" && matches!(&**name, "from" | "to") => {
                        &row["range_time"][name]
                    }
                    _ => &row[name],
                };
                match value {
                    Value::String(text) => assert_eq!(cell, text, "{table}: {name}"),
                    Value::Number(number) => {
                        assert_eq!(cell.parse::<f64>().ok(), number.as_f64(), "{table}: {name}");
                    }
                    other => panic!("{table}: {name} is {other}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn every_second_of_every_bucket_is_a_line() {
    let (server, key) = filled().await;
    let report = server.report("engagement", &all(&key)).await;
    let mut expected = Vec::new();
    for bucket in report["engagement"].as_array().unwrap() {
        for second in bucket["per_second"].as_array().unwrap() {
            expected.push(with(second, "interval", &bucket["interval"]));
        }
    }
    let exported =
        export(&server, "engagement", &with(&all(&key), "format", &json!("ndjson"))).await;
    assert_eq!(read_ndjson(str::from_utf8(&exported.body).unwrap()), expected);
    let lines = export(&server, "engagement", &all(&key)).await;
    let lines = read_csv(str::from_utf8(&lines.body).unwrap());
    assert_eq!(lines.len(), expected.len());
    assert_eq!(lines[1]["viewers"], expected[1]["viewers"].to_string());
}
