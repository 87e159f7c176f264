//! The text of the statistics, in the format of `OpenMetrics` or in that of Prometheus, which tools without `OpenMetrics` read.

use std::fmt::{self, Write as _};

use hyper::header::{ACCEPT, HeaderMap};

/// A format of the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// `OpenMetrics` 1.0, which a Prometheus server requests.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus, which `promtool` and others read: counters are described under the names of
    /// their samples, and there are neither units nor an end.
    Prometheus,
}

/// The text of a response. Writing to it cannot fail.
pub(super) struct Page {
    text: String,
    format: Format,
}

/// The values of a histogram, each counted in one bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets<'a> {
    pub(super) bounds: &'a [f64],
    pub(super) counts: &'a [u64],
    pub(super) larger: u64,
    pub(super) sum: f64,
}

impl Format {
    /// The format for a client: `OpenMetrics` if it accepts that.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut ranges = accepts.flat_map(|value| value.split(','));
        let accepts = ranges.any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
            kind.eq_ignore_ascii_case("application/openmetrics-text") && weight != Some(0.0)
        });
        if accepts { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// Describes a family of samples. `kind` is a type of `OpenMetrics`.
    pub(super) fn family(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        let Self { text, format } = self;
        match format {
            Format::OpenMetrics => {
                let _ = writeln!(text, "# TYPE {name} {kind}");
                if let Some(unit) = unit {
                    let _ = writeln!(text, "# UNIT {name} {unit}");
                }
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            Format::Prometheus => {
                let (end, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                let _ = writeln!(text, "# HELP {name}{end} {help}\n# TYPE {name}{end} {kind}");
            }
        }
    }

    /// Writes a sample of the family that was described last.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.text.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.family(name, "gauge", None, help);
        self.sample(name, &[], value);
    }

    /// A gauge in bytes or seconds, which end its name; none without a value.
    pub(super) fn measure<T: fmt::Display>(&mut self, name: &str, help: &str, value: Option<T>) {
        let Some(value) = value else { return };
        let unit = name.rsplit_once('_').map(|(_, unit)| unit);
        self.family(name, "gauge", unit, help);
        self.sample(name, &[], value);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: impl fmt::Display) {
        self.family(name, "counter", None, help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    pub(super) fn outcomes(&mut self, name: &str, help: &str, values: &[(&str, u64)]) {
        self.family(name, "counter", None, help);
        let name = format!("{name}_total");
        for (outcome, value) in values {
            self.sample(&name, &[("outcome", outcome)], value);
        }
    }

    /// A histogram with one set of labels: `family` describes it first.
    pub(super) fn buckets(&mut self, name: &str, labels: &[(&str, &str)], values: Buckets<'_>) {
        let Buckets { bounds, counts, larger, sum } = values;
        let mut bucket = |bound: &str, count: u64| {
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
            self.sample(&format!("{name}_bucket"), &labels, count);
        };
        let mut count = 0;
        for (bound, values) in bounds.iter().zip(counts) {
            count += values;
            // Writes bounds with a decimal point, as OpenMetrics requires, even for whole numbers.
            bucket(&format!("{bound:?}"), count);
        }
        count += larger;
        bucket("+Inf", count);
        self.sample(&format!("{name}_count"), labels, count);
        self.sample(&format!("{name}_sum"), labels, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_receives_the_format_that_it_accepts() {
        let accepted = |value: &'static str| {
            let headers = HeaderMap::from_iter([(ACCEPT, value.parse().unwrap())]);
            Format::accepted(&headers)
        };
        // As Prometheus 2.5 to 3 send it.
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(accepted(prometheus), Format::OpenMetrics);
        assert_eq!(accepted("text/plain, Application/OpenMetrics-Text"), Format::OpenMetrics);
        for other in ["*/*", "text/plain", "application/openmetrics-text;q=0", ""] {
            assert_eq!(accepted(other), Format::Prometheus, "{other}");
        }
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Prometheus);
    }

    #[test]
    fn counters_are_described_under_the_name_that_each_format_has() {
        let text = |format| {
            let mut page = Page::new(format);
            page.outcomes("metrics_joins", "Joins.", &[("bot", 2)]);
            page.family("metrics_build", "info", None, "The version.");
            page.sample("metrics_build_info", &[("version", "1.2.3")], 1);
            page.finish()
        };
        assert_eq!(
            text(Format::OpenMetrics),
            "# TYPE metrics_joins counter\n# HELP metrics_joins Joins.\nmetrics_joins_total{outcome=\"bot\"} 2\n\
             # TYPE metrics_build info\n# HELP metrics_build The version.\nmetrics_build_info{version=\"1.2.3\"} 1\n# EOF\n"
        );
        assert_eq!(
            text(Format::Prometheus),
            "# HELP metrics_joins_total Joins.\n# TYPE metrics_joins_total counter\nmetrics_joins_total{outcome=\"bot\"} 2\n\
             # HELP metrics_build_info The version.\n# TYPE metrics_build_info gauge\nmetrics_build_info{version=\"1.2.3\"} 1\n"
        );
    }
}
