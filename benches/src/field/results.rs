//! What a field has measured, in a file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::Part;
use super::protocol::{Broker, Line, word};

/// Where the crate is: cargo says it, otherwise it is expected below.
pub fn home() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("benches"), PathBuf::from)
}

/// The file of a part of a broker's results.
pub fn path(home: &Path, broker: Broker, part: Part) -> PathBuf {
    home.join("results").join(format!("{}-{}.json", word(broker), word(part)))
}

/// What was measured at once on one broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub broker: Broker,
    pub part: Part,
    pub date: String,
    pub compiler: String,
    /// Cores of the machine.
    pub cores: usize,
    /// Load of the machine before and after.
    pub load: [String; 2],
    /// Rounds that count.
    pub rounds: usize,
    /// Only to see that everything works: the figures say nothing.
    pub quick: bool,
    /// What was measured.
    pub versions: Vec<String>,
    pub lines: Vec<Measured>,
}

/// A line, and of which round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub round: usize,
    #[serde(flatten)]
    pub line: Line,
}

impl Results {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))?;
        serde_json::from_str(&text).map_err(|cause| format!("{} holds no results: {cause}", path.display()))
    }

    pub fn write(&self, path: &Path) -> Result<(), String> {
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, self.text()));
        written.map_err(|cause| format!("cannot write {}: {cause}", path.display()))
    }

    /// JSON with a row for each line, so that a difference shows.
    fn text(&self) -> String {
        let head = Self { lines: Vec::new(), ..self.clone() };
        let head = serde_json::to_string_pretty(&head).expect("it is JSON");
        let head = head.strip_suffix("[]\n}").expect("lines are last");
        let row = |line: &Measured| format!("    {}", serde_json::to_string(line).expect("it is JSON"));
        let rows: Vec<String> = self.lines.iter().map(row).collect();
        format!("{head}[\n{}\n  ]\n}}\n", rows.join(",\n"))
    }

    /// Notes what was measured, with its version.
    pub fn push(&mut self, round: usize, line: Line) {
        if let Err(place) = self.versions.binary_search(&line.version)
            && !line.version.is_empty()
        {
            self.versions.insert(place, line.version.clone());
        }
        self.lines.push(Measured { round, line });
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::field::protocol::Task;

    /// A line of `raw kafka publish ...` that has taken so many seconds.
    pub fn line(words: &str, seconds: f64) -> Line {
        let words: Vec<&str> = words.split(' ').collect();
        let task = Task::parse(&words).expect("valid");
        let mut line = Line::new(&task, format!("{} 1.0", task.who));
        line.seconds = Some(seconds);
        line.cpu_micros = Some(seconds * 2.0);
        line.allocations = Some(4.0);
        line.peak_kib = Some(30_000);
        line
    }

    pub fn results(broker: Broker, part: Part) -> Results {
        Results {
            broker,
            part,
            date: "2026-11-30".to_owned(),
            compiler: "rustc 1".to_owned(),
            cores: 2,
            load: ["0.1".to_owned(), "2.0".to_owned()],
            rounds: 2,
            quick: false,
            versions: Vec::new(),
            lines: Vec::new(),
        }
    }

    #[test]
    fn a_file_has_a_row_for_each_line_and_is_read_again() {
        let mut results = results(Broker::Kafka, Part::Throughput);
        for (round, who) in [(1, "raw"), (1, "ours"), (2, "raw")] {
            results.push(round, line(&format!("{who} kafka publish --messages 10 --size 130"), 0.5));
        }
        assert_eq!(results.versions, ["ours 1.0", "raw 1.0"]);
        let text = results.text();
        assert_eq!(text.lines().filter(|row| row.starts_with("    {\"round\":")).count(), 3);
        assert_eq!(serde_json::from_str::<Results>(&text).expect("it is one"), results);
    }
}
