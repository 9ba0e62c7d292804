//! What is asked for: who does what on which broker.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::change::WHOLE;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// A peer's crate, with the way of using it behind a colon if it is not the first one.
    pub who: String,
    pub broker: Broker,
    pub case: Case,
    pub messages: usize,
    /// Bytes of a message.
    pub size: usize,
    /// Messages in a second, of `latency`.
    pub rate: f64,
    pub settings: Settings,
    /// Where the broker is; empty for memory.
    pub url: String,
    /// The queue or topic that the measurement is done on, and the group that reads it.
    pub place: String,
}

impl Job {
    pub const USAGE: &str = "usage: peers measure WHO memory|rabbit|kafka publish|consume|both|latency|first \
        --messages N --size B [--rate R] [--settings defaults|equal]";

    /// Reads the command line, without the program's name.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let [verb, who, broker, case, options @ ..] = words else { return Err(Self::USAGE.to_owned()) };
        if verb != "measure" {
            return Err(Self::USAGE.to_owned());
        }
        let mut job = Self {
            who: who.clone(),
            broker: broker.parse()?,
            case: case.parse()?,
            messages: 10_000,
            size: WHOLE,
            rate: 1000.0,
            settings: Settings::Defaults,
            url: String::new(),
            place: place(),
        };
        for option in options.chunks(2) {
            let [name, value] = option else { return Err(format!("{} has no value", option[0])) };
            match name.as_str() {
                "--messages" => job.messages = number(name, value)?,
                "--size" => job.size = number(name, value)?,
                "--rate" => job.rate = number(name, value)?,
                "--settings" => job.settings = value.parse()?,
                _ => return Err(format!("no option is called {name}\n{}", Self::USAGE)),
            }
        }
        if job.messages < 2 || job.rate <= 0.0 {
            return Err("there is nothing to measure".to_owned());
        }
        Ok(job)
    }

    /// The way of using the peer, if one is named.
    pub fn way(&self) -> Option<&str> {
        self.who.split_once(':').map(|(_, way)| way)
    }

    /// The crate.
    pub fn peer(&self) -> &str {
        self.who.split(':').next().unwrap_or_default()
    }

    pub fn is_equal(&self) -> bool {
        self.settings == Settings::Equal
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} {value} is not a number"))
}

/// A name that no other run has.
fn place() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("peers-{}-{}", std::process::id(), since.as_micros())
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name { $($variant),* }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("{word} is none of {}", [$($word),*].join(", "))),
                }
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),* })
            }
        }
    };
}

words!(Broker { Memory = "memory", Rabbit = "rabbit", Kafka = "kafka" });
words!(Case { Publish = "publish", Consume = "consume", Both = "both", Latency = "latency", First = "first" });
words!(
    /// Whose settings the client has.
    Settings { Defaults = "defaults", Equal = "equal" }
);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Job, String> {
        Job::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_line_says_what_is_measured() {
        let job = parse("measure shove:batch kafka latency --messages 50 --size 500 --rate 20.5 --settings equal");
        let job = job.expect("it is right");
        assert_eq!((job.peer(), job.way(), job.who.as_str()), ("shove", Some("batch"), "shove:batch"));
        assert_eq!((job.broker, job.case, job.settings), (Broker::Kafka, Case::Latency, Settings::Equal));
        assert_eq!((job.messages, job.size, job.rate), (50, 500, 20.5));
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let job = parse("measure omniqueue memory both").expect("it is right");
        assert_eq!((job.messages, job.size, job.way(), job.is_equal()), (10_000, WHOLE, None, false));
    }

    #[test]
    fn a_mistake_is_named() {
        assert_eq!(parse("measure x rabit both").unwrap_err(), "rabit is none of memory, rabbit, kafka");
        assert_eq!(parse("measure x rabbit both --size big").unwrap_err(), "--size big is not a number");
        assert_eq!(parse("measure x rabbit both --size").unwrap_err(), "--size has no value");
    }
}
