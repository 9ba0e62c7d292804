//! What a program of the field is asked, and what it answers: one case, measured once, one line of JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::latency::Micros;

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Broker {
    Memory,
    Rabbit,
    Kafka,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// Until the broker has confirmed all.
    Publish,
    /// Messages that are there, from the first that is handled to the last.
    Consume,
    /// Producer and consumer at once, from the first send until all are handled.
    Both,
    /// From when a message is due to when it is handled, at a rate that waits for nobody.
    Latency,
    /// From nothing to the first message handled.
    First,
    /// Messages that are there and are handled slowly: what the process keeps in memory meanwhile.
    Hold,
}

/// Whose settings the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Settings {
    /// The program's own.
    Defaults,
    /// Ours.
    Equal,
}

/// Reads a word of the command line.
pub fn read<T: DeserializeOwned>(word: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(word)).map_err(|cause| cause.to_string())
}

/// The word for it on a command line.
pub fn word(value: impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("a word is JSON");
    value.as_str().expect("it is a word").to_owned()
}

/// What a program is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub who: String,
    pub broker: Broker,
    pub case: Case,
    pub settings: Settings,
    pub messages: usize,
    /// Bytes of a payload.
    pub size: usize,
    /// Messages in a second, for a latency.
    pub rate: Option<f64>,
    /// Whether messages have no headers, and none is read.
    pub bare: bool,
    /// How many inputs are open beside to which nothing comes.
    pub beside: usize,
    /// Milliseconds that a handler takes.
    pub handler: u64,
    /// Settings of ours that are not the defaults: `producer/...=value` or `consumer/...=value`.
    pub set: Vec<String>,
}

impl Task {
    /// Reads `WHO BROKER CASE --messages N --size B [--rate R] [--settings defaults|equal]`, and what only those of this program are
    /// asked: `[--headers none] [--beside N] [--handler MS] [--set PATH=VALUE]...`.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let [who, broker, case, options @ ..] = words else {
            return Err("who, broker and case are missing".to_owned());
        };
        let (broker, case) = (read(broker)?, read(case)?);
        let (mut messages, mut size, mut rate, mut settings) = (None, None, None, Settings::Defaults);
        let (mut bare, mut beside, mut handler, mut set) = (false, 0, 0, Vec::new());
        for option in options.chunks(2) {
            let [name, value] = option else { return Err(format!("{} needs a value", option[0])) };
            match *name {
                "--messages" => messages = Some(number::<usize>(name, value)?),
                "--size" => size = Some(number::<usize>(name, value)?),
                "--rate" => rate = Some(number::<f64>(name, value)?),
                "--settings" => settings = read(value)?,
                "--headers" if *value == "none" => bare = true,
                "--headers" => return Err("--headers may be none".to_owned()),
                "--beside" => beside = number(name, value)?,
                "--handler" => handler = number(name, value)?,
                "--set" if value.contains('=') => set.push((*value).to_owned()),
                "--set" => return Err(format!("--set: {value} is not PATH=VALUE")),
                _ => return Err(format!("there is no option {name}")),
            }
        }
        let messages = messages.filter(|count| *count > 1).ok_or("--messages must be 2 or more")?;
        let size = size.ok_or("--size is missing")?;
        if bare && broker != Broker::Kafka {
            return Err("only messages of Kafka are sent without headers".to_owned());
        }
        if (case == Case::Latency) != rate.is_some_and(|rate| rate > 0.0) {
            return Err("--rate belongs to latency, and is above 0".to_owned());
        }
        Ok(Self { who: (*who).to_owned(), broker, case, settings, messages, size, rate, bare, beside, handler, set })
    }

    /// The words with which a program is asked this.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![self.who.clone(), word(self.broker), word(self.case)];
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        option("--messages", self.messages.to_string());
        option("--size", self.size.to_string());
        if let Some(rate) = self.rate {
            option("--rate", rate.to_string());
        }
        option("--settings", word(self.settings));
        // other programs don't know these
        if self.bare {
            option("--headers", "none".to_owned());
        }
        if self.beside > 0 {
            option("--beside", self.beside.to_string());
        }
        if self.handler > 0 {
            option("--handler", self.handler.to_string());
        }
        for set in &self.set {
            option("--set", set.clone());
        }
        words
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}: {value} is no number"))
}

/// What a program answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub who: String,
    /// Name and version of what was measured.
    pub version: String,
    pub broker: Broker,
    pub case: Case,
    pub settings: Settings,
    pub messages: usize,
    pub size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    #[serde(default, skip_serializing_if = "is_none")]
    pub bare: bool,
    #[serde(default, skip_serializing_if = "is_none")]
    pub beside: usize,
    #[serde(default, skip_serializing_if = "is_none")]
    pub handler: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// CPU for each message, of all threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_micros: Option<f64>,
    /// For each message, of Rust code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<f64>,
    /// The most memory that the process ever had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_kib: Option<u64>,
    /// The memory that the process had: when all was open, and in `hold` when each further tenth was handled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resident_kib: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micros: Option<Micros>,
    /// Why it can't be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// Why there is no answer; a program does not say that itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

fn is_none<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Line {
    /// The head of the answer.
    pub fn new(task: &Task, version: String) -> Self {
        let Task { who, broker, case, settings, messages, size, rate, bare, beside, handler, set } = task.clone();
        Self {
            who,
            version,
            broker,
            case,
            settings,
            messages,
            size,
            rate,
            bare,
            beside,
            handler,
            set,
            seconds: None,
            cpu_micros: None,
            allocations: None,
            peak_kib: None,
            resident_kib: Vec::new(),
            micros: None,
            unsupported: None,
            failed: None,
        }
    }

    /// Reads what a program has printed: the last line that is not empty.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = text.lines().rfind(|line| !line.trim().is_empty()).ok_or("it printed nothing")?;
        let line: Self = serde_json::from_str(line).map_err(|cause| format!("{cause} in {line}"))?;
        let measured = match line.case {
            Case::Latency => line.micros.is_some(),
            Case::First => line.seconds.is_some(),
            _ => line.seconds.is_some() && line.cpu_micros.is_some(),
        };
        if measured || line.unsupported.is_some() { Ok(line) } else { Err("it tells no figures".to_owned()) }
    }

    /// Messages handled in a second.
    pub fn per_second(&self) -> Option<f64> {
        let counted = if [Case::Consume, Case::Hold].contains(&self.case) { self.messages - 1 } else { self.messages };
        self.seconds.map(|seconds| counted as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Task {
        Task::parse(&["raw", "kafka", "latency", "--messages", "9", "--size", "130", "--rate", "500"]).expect("valid")
    }

    #[test]
    fn a_task_is_what_its_words_say() {
        let words = task().words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(words.join(" "), "raw kafka latency --messages 9 --size 130 --rate 500 --settings defaults");
        assert_eq!(Task::parse(&words), Ok(task()));
    }

    #[test]
    fn what_only_ours_is_asked_is_said_only_if_it_is_asked() {
        let text = "ours kafka both --messages 9 --size 130 --settings equal --headers none --beside 10 --handler 5 --set consumer/prefetch=7";
        let words: Vec<&str> = text.split(' ').collect();
        let task = Task::parse(&words).expect("valid");
        assert_eq!(task.words().join(" "), text);
        assert_eq!(
            (task.bare, task.beside, task.handler, task.set),
            (true, 10, 5, vec!["consumer/prefetch=7".to_owned()])
        );
    }

    #[test]
    fn a_task_that_cant_be_is_refused() {
        for (words, begins) in [
            ("raw kafka", "who, broker and case"),
            ("raw nats both --messages 9 --size 1", "unknown variant `nats`"),
            ("raw kafka both --messages 9 --size", "--size needs a value"),
            ("raw kafka both --messages x --size 1", "--messages: x is no number"),
            ("raw kafka both --messages 1 --size 1", "--messages must be 2"),
            ("raw kafka both --messages 9", "--size is missing"),
            ("raw kafka both --messages 9 --size 1 --rate 5", "--rate belongs to latency"),
            ("raw kafka latency --messages 9 --size 1", "--rate belongs to latency"),
            ("raw kafka both --message 9", "there is no option --message"),
            ("raw rabbit both --messages 9 --size 1 --headers none", "only messages of Kafka"),
            ("ours kafka both --headers x", "--headers may be none"),
            ("ours kafka both --set x", "--set: x is not PATH=VALUE"),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let error = Task::parse(&words).expect_err("refused");
            assert!(error.starts_with(begins), "{error}");
        }
    }

    #[test]
    fn a_line_is_the_last_and_has_figures_or_says_why_not() {
        let mut line = Line::new(&task(), "x 1".to_owned());
        let print = |line: &Line| format!("hello\n{}\n\n", serde_json::to_string(line).expect("JSON"));
        assert_eq!(Line::parse(&print(&line)), Err("it tells no figures".to_owned()));
        line.unsupported = Some("it has no keys".to_owned());
        assert_eq!(Line::parse(&print(&line)), Ok(line.clone()));
        assert_eq!(Line::parse("\n"), Err("it printed nothing".to_owned()));
        assert!(Line::parse("{}").is_err_and(|error| error.starts_with("missing field `who`")));
    }

    #[test]
    fn a_consumer_is_not_timed_for_its_first_message() {
        let mut line = Line::new(&task(), "x 1".to_owned());
        (line.messages, line.seconds) = (101, Some(2.0));
        line.case = Case::Consume;
        assert_eq!(line.per_second(), Some(50.0));
        line.case = Case::Both;
        assert_eq!(line.per_second(), Some(50.5));
    }
}
