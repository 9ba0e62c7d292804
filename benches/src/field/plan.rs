//! What the field is asked on each broker, and who is in it.

use super::protocol::{Broker, Case, Settings};

/// Rounds that count, if the command line does not say how many.
pub const ROUNDS: usize = 5;

/// What the tables call small: the message of the demonstration.
pub const SMALL: usize = 130;
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A rate at which no broker is busy.
pub const CALM: f64 = 500.0;

/// How long latencies are taken.
const LATENCY_SECONDS: f64 = 10.0;

/// All messages of a latency are made before.
const MOST_SAMPLES: usize = 200_000;

/// Those who are in this program. Only sending differs from `ours` to `ours:batch`.
pub const OWN: [&str; 4] = ["ours", "ours:batch", "raw", "tuned"];

/// Those who are in the program of peers, if its name comes without theirs.
pub const PEERS: [&str; 9] = [
    "mq-bridge",
    "mq-bridge:observe",
    "mq-bridge:parallel",
    "omniqueue",
    "ruststream",
    "ruststream:batch",
    "sea-streamer",
    "shove",
    "shove:batch",
];

/// At which rate latencies are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// The case has none.
    None,
    Calm,
    /// Half of what the bare client reaches with both sides at once.
    Half,
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub case: Case,
    pub size: usize,
    pub settings: Settings,
    pub messages: usize,
    pub rate: Rate,
    /// Whether peers and tuned clients are asked too.
    pub all: bool,
}

impl Step {
    /// Whether somebody is asked.
    pub fn asks(&self, who: &str) -> bool {
        match who {
            "ours:batch" => self.all && [Case::Publish, Case::Both].contains(&self.case),
            "ours" | "raw" => true,
            _ => self.all,
        }
    }

    /// How many messages make a latency at this rate.
    pub fn at_rate(mut self, rate: f64) -> Self {
        self.messages = ((rate * LATENCY_SECONDS) as usize).clamp(2, MOST_SAMPLES);
        self
    }

    /// Enough to see that it works.
    pub fn quick(mut self) -> Self {
        self.messages = (self.messages / 20).clamp(2, 2_000);
        self
    }
}

/// How many small messages, and how many of each of [`SIZES`].
struct Counts {
    small: usize,
    sizes: [usize; SIZES.len()],
}

/// What the tables have beside 130 bytes and 1 KiB.
const SIZES: [usize; 5] = [10, 100, 10 * KIB, 100 * KIB, MIB];

fn counts(broker: Broker) -> Counts {
    match broker {
        Broker::Memory => Counts { small: 1_000_000, sizes: [500_000, 500_000, 50_000, 5_000, 500] },
        Broker::Rabbit => Counts { small: 20_000, sizes: [20_000, 20_000, 5_000, 2_000, 300] },
        Broker::Kafka => Counts { small: 200_000, sizes: [100_000, 100_000, 20_000, 2_000, 300] },
    }
}

/// All comparisons on a broker.
pub fn plan(broker: Broker) -> Vec<Step> {
    let counts = counts(broker);
    // nothing but a client of Kafka has settings
    let settings: &[Settings] =
        if broker == Broker::Kafka { &[Settings::Defaults, Settings::Equal] } else { &[Settings::Defaults] };
    let mut steps = Vec::new();
    for &settings in settings {
        let step = |case, size, messages, rate| Step { case, size, settings, messages, rate, all: true };
        for case in [Case::Publish, Case::Consume, Case::Both] {
            steps.push(step(case, SMALL, counts.small, Rate::None));
            steps.push(step(case, KIB, counts.small / 2, Rate::None));
        }
        steps.push(step(Case::Latency, SMALL, 0, Rate::Calm).at_rate(CALM));
        steps.push(step(Case::Latency, SMALL, 0, Rate::Half).at_rate(CALM));
        steps.push(step(Case::First, SMALL, 2, Rate::None));
    }
    // where all clients are set alike, if there is anything to set
    let settings = settings[settings.len() - 1];
    for case in [Case::Publish, Case::Consume] {
        let sizes = SIZES.into_iter().zip(counts.sizes);
        steps.extend(sizes.map(|(size, messages)| Step {
            case,
            size,
            settings,
            messages,
            rate: Rate::None,
            all: false,
        }));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_compared_on_kafka_only() {
        for (broker, steps) in [(Broker::Memory, 19), (Broker::Rabbit, 19), (Broker::Kafka, 28)] {
            let plan = plan(broker);
            assert_eq!(plan.len(), steps);
            assert_eq!(plan.iter().any(|step| step.settings == Settings::Equal), broker == Broker::Kafka);
        }
    }

    #[test]
    fn half_a_rate_comes_after_what_it_is_half_of() {
        let plan = plan(Broker::Kafka);
        for (at, step) in plan.iter().enumerate().filter(|(_, step)| step.rate == Rate::Half) {
            let before =
                |other: &Step| (other.case, other.size, other.settings) == (Case::Both, step.size, step.settings);
            assert!(plan[..at].iter().any(before));
        }
    }

    #[test]
    fn who_only_sends_otherwise_is_asked_to_send() {
        let plan = plan(Broker::Rabbit);
        let asked = |who: &str| plan.iter().filter(|step| step.asks(who)).count();
        assert_eq!(["ours", "raw", "ours:batch", "tuned", "shove"].map(asked), [19, 19, 4, 9, 9]);
    }

    #[test]
    fn a_rate_says_how_many_messages() {
        let step = plan(Broker::Memory)[6];
        assert_eq!((step.rate, step.messages), (Rate::Calm, 5000));
        assert_eq!(step.at_rate(1e6).messages, MOST_SAMPLES);
    }
}
