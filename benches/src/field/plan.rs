//! What the field is asked on each broker, and who is in it.

use serde::{Deserialize, Serialize};

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

/// Handlers at once, where they take time.
pub const LANES: usize = 16;

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

/// What is measured at once, into a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Publish, consume, and both at once.
    Throughput,
    Latency,
    /// From the start to the first message.
    First,
    Sizes,
    /// A busy input beside idle ones.
    Bindings,
    /// Handlers that take time, in each order.
    Handlers,
    /// What may be set, and what it trades.
    Tuning,
    /// What a process keeps whose handlers are slow.
    Memory,
}

impl Part {
    pub const ALL: [Self; 8] = [
        Self::Throughput,
        Self::Latency,
        Self::First,
        Self::Sizes,
        Self::Bindings,
        Self::Handlers,
        Self::Tuning,
        Self::Memory,
    ];
}

/// At which rate latencies are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// The case has none.
    None,
    Calm,
    /// Half of what the bare client reaches with both sides at once.
    Half,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    All,
    /// Ours, and the bare client with our settings.
    Twins,
    Ours,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub case: Case,
    pub size: usize,
    pub settings: Settings,
    pub messages: usize,
    pub rate: Rate,
    pub asked: Asked,
    pub bare: bool,
    pub beside: usize,
    pub handler: u64,
    pub set: Vec<String>,
    /// Whether it is measured once only, because it takes long.
    pub once: bool,
}

impl Step {
    fn new(case: Case, size: usize, messages: usize, asked: Asked) -> Self {
        let (settings, rate) = (Settings::Defaults, Rate::None);
        let (bare, once) = (false, false);
        Self { case, size, settings, messages, rate, asked, bare, beside: 0, handler: 0, set: Vec::new(), once }
    }

    /// A latency, whose messages follow from its rate.
    fn latency(rate: Rate, asked: Asked) -> Self {
        Self { rate, ..Self::new(Case::Latency, SMALL, 0, asked) }.at_rate(CALM)
    }

    /// With settings of ours.
    fn set(mut self, set: &[&str]) -> Self {
        self.set = set.iter().map(|set| (*set).to_owned()).collect();
        self
    }

    /// Whether somebody is asked.
    pub fn asks(&self, who: &str) -> bool {
        match (self.asked, who) {
            (_, "ours") => true,
            (Asked::Ours, _) => false,
            (_, "raw") => true,
            (Asked::Twins, _) => false,
            (Asked::All, "ours:batch") => [Case::Publish, Case::Both].contains(&self.case),
            (Asked::All, _) => true,
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
        self.beside = self.beside.min(20);
        self
    }
}

/// How many messages of each size, smallest first.
const SIZES: [usize; 6] = [10, 100, KIB, 10 * KIB, 100 * KIB, MIB];

/// How much is measured on a broker.
struct Scale {
    small: usize,
    sizes: [usize; SIZES.len()],
    /// Idle inputs.
    beside: &'static [usize],
}

fn scale(broker: Broker) -> Scale {
    match broker {
        Broker::Memory => Scale {
            small: 1_000_000,
            sizes: [500_000, 500_000, 200_000, 50_000, 5_000, 500],
            beside: &[0, 1, 10, 100, 1000],
        },
        Broker::Rabbit => {
            Scale { small: 60_000, sizes: [60_000, 60_000, 20_000, 5_000, 2_000, 300], beside: &[0, 1, 10, 100, 1000] }
        }
        // each is a client of its own
        Broker::Kafka => {
            Scale { small: 200_000, sizes: [100_000, 100_000, 100_000, 20_000, 2_000, 300], beside: &[0, 1, 10, 100] }
        }
    }
}

/// The comparisons of a part.
pub fn plan(broker: Broker, part: Part) -> Vec<Step> {
    let scale = scale(broker);
    match part {
        Part::Throughput => {
            let cases = [Case::Publish, Case::Consume, Case::Both].into_iter();
            let sized = |case| [(SMALL, scale.small), (KIB, scale.small / 2)].map(|(size, count)| (case, size, count));
            let steps = cases.flat_map(sized);
            let steps: Vec<_> = steps.map(|(case, size, count)| Step::new(case, size, count, Asked::All)).collect();
            // only there do headers cost more than a word
            let bare = if broker == Broker::Kafka { alike(broker, steps.clone()) } else { Vec::new() };
            let bare = bare.into_iter().map(|step| Step { asked: Asked::Twins, bare: true, ..step });
            each(broker, steps).into_iter().chain(bare).collect()
        }
        Part::Latency => each(broker, [Rate::Calm, Rate::Half].map(|rate| Step::latency(rate, Asked::All)).to_vec()),
        Part::First => each(broker, vec![Step::new(Case::First, SMALL, 2, Asked::All)]),
        Part::Sizes => {
            let step = |case, size, count| Step::new(case, size, count, Asked::Twins);
            let of = |case| SIZES.into_iter().zip(scale.sizes).map(move |(size, count)| step(case, size, count));
            alike(broker, [Case::Publish, Case::Consume].into_iter().flat_map(of).collect())
        }
        Part::Bindings => {
            // a channel of tokio has no client of which there could be many
            let asked = if broker == Broker::Memory { Asked::Ours } else { Asked::Twins };
            let step = |beside: &usize| Step { beside: *beside, ..Step::new(Case::Both, SMALL, scale.small, asked) };
            alike(broker, scale.beside.iter().map(step).collect())
        }
        Part::Handlers => handlers(scale.small),
        Part::Tuning => tuning(broker, scale.small),
        Part::Memory => {
            // ten minutes
            let step = Step { handler: 100, once: true, ..Step::new(Case::Hold, KIB, 6_000 * LANES, Asked::Ours) };
            vec![step.set(&["consumer/ordering=none", &format!("consumer/concurrency={LANES}")])]
        }
    }
}

/// On Kafka, whose client has settings: everybody with their own, and all with ours.
fn each(broker: Broker, steps: Vec<Step>) -> Vec<Step> {
    let equal = if broker == Broker::Kafka { alike(broker, steps.clone()) } else { Vec::new() };
    steps.into_iter().chain(equal).collect()
}

/// All with our settings, where there are any.
fn alike(broker: Broker, mut steps: Vec<Step>) -> Vec<Step> {
    if broker == Broker::Kafka {
        steps.iter_mut().for_each(|step| step.settings = Settings::Equal);
    }
    steps
}

/// Handlers that take 0, 1 and 10 ms.
fn handlers(small: usize) -> Vec<Step> {
    let of = |ordering: &'static str| {
        // one partition at least is handled, message by message
        let counts = [(0, small), (1, 4_000), (10, 800)];
        counts.map(|(handler, count)| {
            let step = Step { handler, ..Step::new(Case::Consume, SMALL, count, Asked::Ours) };
            let ordering = format!("consumer/ordering={ordering}");
            step.set(&[&ordering, &format!("consumer/concurrency={LANES}")])
        })
    };
    ["partition", "key", "none"].into_iter().flat_map(of).collect()
}

/// What may be set to have more messages at once, or each of them sooner.
fn tuning(broker: Broker, small: usize) -> Vec<Step> {
    let settings: &[&[&str]] = match broker {
        Broker::Memory => &[],
        Broker::Rabbit => &[
            &["consumer/rabbit/ack-interval=0s"],
            &["consumer/rabbit/ack-interval=5ms"],
            &[],
            &["consumer/rabbit/ack-interval=100ms"],
            &["consumer/prefetch=32"],
            &["consumer/prefetch=1024"],
            &["consumer/prefetch=4096"],
        ],
        Broker::Kafka => &[
            &["producer/kafka/linger=0ms"],
            &[],
            &["producer/kafka/linger=5ms"],
            &["producer/kafka/linger=20ms"],
            &[
                "consumer/kafka/configuration/fetch.min.bytes=65536",
                "consumer/kafka/configuration/fetch.wait.max.ms=20",
            ],
        ],
    };
    let steps = |set: &&[&str]| {
        let is_of = |side: &str| set.is_empty() || set.iter().any(|set| set.starts_with(side));
        let sides = [(Case::Publish, "producer"), (Case::Consume, "consumer")];
        let of_sides = sides.into_iter().filter(|(_, side)| is_of(side));
        let throughput = of_sides.map(|(case, _)| Step::new(case, SMALL, small, Asked::Ours));
        let steps = throughput.chain([Step::latency(Rate::Calm, Asked::Ours)]);
        steps.map(|step| step.set(set)).collect::<Vec<_>>()
    };
    settings.iter().flat_map(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_clients_are_compared_on_kafka_only() {
        for (broker, steps) in [(Broker::Memory, 6), (Broker::Rabbit, 6), (Broker::Kafka, 18)] {
            let plan = plan(broker, Part::Throughput);
            assert_eq!(plan.len(), steps);
            assert_eq!(plan.iter().any(|step| step.settings == Settings::Equal), broker == Broker::Kafka);
        }
    }

    #[test]
    fn half_a_rate_is_of_what_is_measured() {
        let throughput = plan(Broker::Kafka, Part::Throughput);
        let latency = plan(Broker::Kafka, Part::Latency);
        let mut halves = latency.iter().filter(|step| step.rate == Rate::Half).peekable();
        assert!(halves.peek().is_some());
        for step in halves {
            let whole = |other: &Step| {
                (other.case, other.size, other.settings, other.bare) == (Case::Both, step.size, step.settings, false)
            };
            assert!(throughput.iter().any(whole), "{step:?}");
        }
    }

    #[test]
    fn who_can_be_compared_is_asked() {
        let asked = |part| {
            let plan = plan(Broker::Rabbit, part);
            let count = |who: &str| plan.iter().filter(|step| step.asks(who)).count();
            ["ours", "raw", "ours:batch", "tuned", "shove"].map(count)
        };
        assert_eq!(asked(Part::Throughput), [6, 6, 4, 6, 6]);
        assert_eq!(asked(Part::Latency), [2, 2, 0, 2, 2]);
        assert_eq!(asked(Part::Sizes), [12, 12, 0, 0, 0]);
        assert_eq!(asked(Part::Bindings), [5, 5, 0, 0, 0]);
        assert_eq!(asked(Part::Handlers), [9, 0, 0, 0, 0]);
    }

    #[test]
    fn each_broker_has_each_part_but_memory_nothing_to_tune() {
        for broker in [Broker::Memory, Broker::Rabbit, Broker::Kafka] {
            for part in Part::ALL {
                let is_empty = plan(broker, part).is_empty();
                assert_eq!(is_empty, (broker, part) == (Broker::Memory, Part::Tuning), "{broker:?} {part:?}");
            }
        }
    }

    #[test]
    fn a_rate_says_how_many_messages() {
        let [step, ..] = &plan(Broker::Memory, Part::Latency)[..] else { panic!("it has steps") };
        assert_eq!((step.rate, step.messages), (Rate::Calm, 5000));
        assert_eq!(step.clone().at_rate(1e6).messages, MOST_SAMPLES);
    }
}
