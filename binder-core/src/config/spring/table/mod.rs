//! Every property of Spring Cloud Stream, and what becomes of it. The guide's page is made of this table.

mod boot;
mod client;
mod core;
mod kafka;
mod rabbit;

pub(super) use client::{CLIENT, Client, Side};

use super::convert::Convert;
use super::names::{Segment, joined};
use super::work::{Given, Spot, Work};

/// A property and its fate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// In kebab-case, below the prefix of its [`Area`]; `.*` at its end stands for names of the file's own.
    pub(super) name: &'static str,
    pub(super) fate: Fate,
}

/// What becomes of a property.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// It is this key of ours.
    Key(&'static str, Convert),
    /// It becomes what a function makes of it.
    Made(Made),
    /// Only these values are possible, because that is how it is here; all else is refused for the reason.
    Only(&'static [&'static str], &'static str),
    /// It has nothing to act on here, for the reason; it is accepted and told.
    Idle(&'static str),
    /// It is an error: the reason, and what to do.
    Refused(&'static str),
}

/// What a function makes of a property.
#[derive(Clone, Copy)]
pub(super) struct Made {
    /// Our keys, or what happens, for the guide.
    pub(super) to: &'static str,
    /// A value that is accepted, for tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests go through it"))]
    pub(super) sample: &'static str,
    pub(super) by: fn(&mut Work<'_>, &Spot, &Given),
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key, _) => write!(f, "Key({key})"),
            Self::Made(made) => write!(f, "Made({})", made.to),
            Self::Only(values, _) => write!(f, "Only({values:?})"),
            Self::Idle(why) => write!(f, "Idle({why})"),
            Self::Refused(why) => write!(f, "Refused({why})"),
        }
    }
}

const fn key(name: &'static str, ours: &'static str, convert: Convert) -> Row {
    Row { name, fate: Fate::Key(ours, convert) }
}

const fn made(name: &'static str, to: &'static str, sample: &'static str, by: fn(&mut Work<'_>, &Spot, &Given)) -> Row {
    Row { name, fate: Fate::Made(Made { to, sample, by }) }
}

const fn only(name: &'static str, values: &'static [&'static str], why: &'static str) -> Row {
    Row { name, fate: Fate::Only(values, why) }
}

const fn idle(name: &'static str, why: &'static str) -> Row {
    Row { name, fate: Fate::Idle(why) }
}

const fn refused(name: &'static str, why: &'static str) -> Row {
    Row { name, fate: Fate::Refused(why) }
}

/// A part of the properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Service,
    Binding,
    Consumer,
    Producer,
    Binder,
    KafkaBinder,
    KafkaConsumer,
    KafkaProducer,
    RabbitBinder,
    RabbitConsumer,
    RabbitProducer,
    Function,
    BootKafka,
    BootRabbit,
}

impl Area {
    pub(super) const ALL: [Self; 14] = [
        Self::Service,
        Self::Binding,
        Self::Consumer,
        Self::Producer,
        Self::Binder,
        Self::KafkaBinder,
        Self::KafkaConsumer,
        Self::KafkaProducer,
        Self::RabbitBinder,
        Self::RabbitConsumer,
        Self::RabbitProducer,
        Self::Function,
        Self::BootKafka,
        Self::BootRabbit,
    ];

    /// What its properties begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Service => "spring.cloud.stream",
            Self::Binding => "spring.cloud.stream.bindings.<binding>",
            Self::Consumer => "spring.cloud.stream.bindings.<binding>.consumer",
            Self::Producer => "spring.cloud.stream.bindings.<binding>.producer",
            Self::Binder => "spring.cloud.stream.binders.<binder>",
            Self::KafkaBinder => "spring.cloud.stream.kafka.binder",
            Self::KafkaConsumer => "spring.cloud.stream.kafka.bindings.<binding>.consumer",
            Self::KafkaProducer => "spring.cloud.stream.kafka.bindings.<binding>.producer",
            Self::RabbitBinder => "spring.cloud.stream.rabbit.binder",
            Self::RabbitConsumer => "spring.cloud.stream.rabbit.bindings.<binding>.consumer",
            Self::RabbitProducer => "spring.cloud.stream.rabbit.bindings.<binding>.producer",
            Self::Function => "spring.cloud.function",
            Self::BootKafka => "spring.kafka",
            Self::BootRabbit => "spring.rabbitmq",
        }
    }

    /// The rows, in the order of the guide.
    pub(super) fn rows(self) -> impl Iterator<Item = &'static Row> + Clone {
        let (own, more): (&[Row], &[Row]) = match self {
            Self::Service => (core::SERVICE, &[]),
            Self::Binding => (core::BINDING, &[]),
            Self::Consumer => (core::CONSUMER, &[]),
            Self::Producer => (core::PRODUCER, &[]),
            Self::Binder => (core::BINDER, &[]),
            Self::KafkaBinder => (kafka::BINDER, &[]),
            Self::KafkaConsumer => (kafka::CONSUMER, &[]),
            Self::KafkaProducer => (kafka::PRODUCER, &[]),
            Self::RabbitBinder => (rabbit::BINDER, &[]),
            Self::RabbitConsumer => (rabbit::CONSUMER, rabbit::CONSUMER_QUEUE),
            Self::RabbitProducer => (rabbit::PRODUCER, rabbit::PRODUCER_QUEUE),
            Self::Function => (core::FUNCTION, &[]),
            Self::BootKafka => (boot::KAFKA, &[]),
            Self::BootRabbit => (boot::RABBIT, &[]),
        };
        own.iter().chain(more)
    }

    /// Finds the row of a name and what of the name is the file's own.
    pub(super) fn find(self, name: &[Segment]) -> Option<(&'static Row, String)> {
        let exact = self.rows().find(|row| {
            let parts: Vec<&str> = row.name.split('.').collect();
            parts.len() == name.len() && name.iter().zip(&parts).all(|(segment, part)| segment.is(part))
        });
        let open = || {
            self.rows().find_map(|row| {
                let parts: Vec<&str> = row.name.strip_suffix(".*")?.split('.').collect();
                let (first, rest) = name.split_at_checked(parts.len())?;
                let found = first.iter().zip(&parts).all(|(segment, part)| segment.is(part)) && !rest.is_empty();
                found.then(|| (row, joined(rest)))
            })
        };
        exact.map(|row| (row, String::new())).or_else(open)
    }
}
