//! The line that the program prints.

use serde_json::{Value, json};

use super::job::Job;
use super::meter::Cost;

/// What came of a measurement.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// What so many messages cost.
    Measured {
        messages: usize,
        cost: Cost,
    },
    /// Nanoseconds from when a message was due until it was handled.
    Latency {
        messages: usize,
        cost: Cost,
        nanos: Vec<u64>,
    },
    /// Until the first message was handled.
    First {
        seconds: f64,
    },
    Unsupported(String),
}

/// The name of a peer with the version that is built.
pub fn version(peer: &str) -> String {
    format!("{peer} {}", locked(include_str!("../../Cargo.lock"), peer).unwrap_or("unknown"))
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}

/// The line, as JSON.
pub fn line(job: &Job, version: &str, outcome: &Outcome, peak_kib: u64) -> String {
    let mut line = json!({
        "who": job.who, "version": version, "broker": job.broker.to_string(), "case": job.case.to_string(),
        "settings": job.settings.to_string(), "messages": job.messages, "size": job.size,
    });
    let mut add = |name: &str, value: Value| line[name] = value;
    match outcome {
        Outcome::Measured { messages, cost } => figures(&mut add, *messages, cost),
        Outcome::Latency { messages, cost, nanos } => {
            figures(&mut add, *messages, cost);
            add("micros", percentiles(nanos.clone()));
            add("rate", json!(job.rate));
        }
        Outcome::First { seconds } => return with(line, "seconds", rounded(*seconds, 6)),
        Outcome::Unsupported(why) => return with(line, "unsupported", json!(why)),
    }
    with(line, "peak_kib", json!(peak_kib))
}

fn with(mut line: Value, name: &str, value: Value) -> String {
    line[name] = value;
    line.to_string()
}

fn figures(add: &mut impl FnMut(&str, Value), messages: usize, cost: &Cost) {
    add("seconds", rounded(cost.time.as_secs_f64(), 6));
    add("cpu_micros", rounded(cost.cpu.as_secs_f64() * 1e6 / messages as f64, 3));
    add("allocations", rounded(cost.allocations as f64 / messages as f64, 3));
}

fn rounded(figure: f64, digits: i32) -> Value {
    let unit = 10_f64.powi(digits);
    json!((figure * unit).round() / unit)
}

/// The least figure that so large a part of all does not exceed, in microseconds.
fn percentiles(mut nanos: Vec<u64>) -> Value {
    nanos.sort_unstable();
    let at = |part: f64| {
        let rank = (part * nanos.len() as f64).ceil() as usize;
        nanos.get(rank.saturating_sub(1)).map(|nanos| *nanos as f64 / 1e3)
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn job(case: &str) -> Job {
        let words = ["measure", "shove", "kafka", case, "--messages", "1001"].map(str::to_owned);
        Job::parse(&words).expect("it is right")
    }

    fn read(case: &str, outcome: &Outcome) -> Value {
        serde_json::from_str(&line(&job(case), "shove 0.16.0", outcome, 34_000)).expect("it is JSON")
    }

    #[test]
    fn figures_are_those_of_a_message() {
        let cost = Cost { time: Duration::from_millis(1500), cpu: Duration::from_millis(2), allocations: 4010 };
        let line = read("consume", &Outcome::Measured { messages: 1000, cost });
        let wanted = json!({
            "who": "shove", "version": "shove 0.16.0", "broker": "kafka", "case": "consume", "settings": "defaults",
            "messages": 1001, "size": 130, "seconds": 1.5, "cpu_micros": 2.0, "allocations": 4.01, "peak_kib": 34000,
        });
        assert_eq!(line, wanted);
    }

    #[test]
    fn a_percentile_is_a_latency_that_was_measured() {
        let nanos = (1..=1000).rev().map(|micros| micros * 1000).collect();
        let line = read("latency", &Outcome::Latency { messages: 1000, cost: Cost::default(), nanos });
        assert_eq!(line["micros"], json!({ "p50": 500.0, "p99": 990.0, "p999": 999.0, "max": 1000.0 }));
        assert_eq!(line["rate"], json!(1000.0));
        assert_eq!(percentiles(vec![7500]), json!({ "p50": 7.5, "p99": 7.5, "p999": 7.5, "max": 7.5 }));
    }

    #[test]
    fn a_version_is_that_of_the_lock_file() {
        let lock =
            "name = \"shove-x\"\nversion = \"1.0.0\"\n\nname = \"shove\"\nversion = \"0.16.0\"\nsource = \"x\"\n";
        assert_eq!([locked(lock, "shove"), locked(lock, "omniqueue")], [Some("0.16.0"), None]);
        assert!(
            ["mq-bridge", "omniqueue", "ruststream", "sea-streamer", "shove"]
                .map(version)
                .iter()
                .all(|told| !told.ends_with("unknown"))
        );
    }

    #[test]
    fn what_cannot_be_done_has_no_figures() {
        let line = read("both", &Outcome::Unsupported("no confirms".to_owned()));
        assert_eq!(line["unsupported"], "no confirms");
        assert_eq!([line.get("seconds"), line.get("peak_kib")], [None, None]);
        let first = read("first", &Outcome::First { seconds: 0.25 });
        assert_eq!((&first["seconds"], first.get("cpu_micros")), (&json!(0.25), None));
    }
}
