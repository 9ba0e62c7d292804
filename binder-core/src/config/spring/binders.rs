//! Which binders there are, and on which of them a binding is.

use std::collections::BTreeMap;

use super::convert::flag;
use super::names::{Key, Segment};
use super::source::{Entry, Properties, text};
use super::table::Area;
use super::work::Given;

/// A kind of broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Kafka,
    Rabbit,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "kafka" => Some(Self::Kafka),
            "rabbit" => Some(Self::Rabbit),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Rabbit => "rabbit",
        }
    }
}

/// A binder of the file, with the properties that it sees.
#[derive(Debug)]
pub(super) struct BinderPlan {
    pub(super) name: String,
    /// `None` is another type than those that are known here.
    pub(super) kind: Option<Kind>,
    /// Whether it may be the default one.
    pub(super) candidate: bool,
    /// What it sees of properties that belong to a binder, by canonical name.
    pub(super) effective: BTreeMap<String, Given>,
    /// What says who we are to Kafka, by the name of the client's setting.
    pub(super) access: BTreeMap<String, Given>,
    /// The bundle of certificates.
    pub(super) bundle: Option<Given>,
}

impl BinderPlan {
    pub(super) fn new(name: &str, kind: Option<Kind>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            candidate: true,
            effective: BTreeMap::new(),
            access: BTreeMap::new(),
            bundle: None,
        }
    }

    /// Returns a property that the binder sees, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.effective.get(&Key::parse(name).canonical()).filter(|given| !text(&given.entry.value).is_empty())
    }
}

/// To whom a property belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Service,
    /// `default`: all bindings.
    Default,
    Binding(String),
    /// An entry of `binders`.
    Entry(String),
    /// The environment of an entry: what stands there is a name of its own.
    Environment(String),
    /// All binders of a kind.
    Binders(Kind),
    /// All bindings on binders of a kind.
    DefaultOf(Kind),
    /// What a binding says for a kind of binder.
    BindingOf(Kind, String),
    /// Certificates that others name.
    Bundle,
}

/// Finds where a property belongs; the rest is its name there. `None` if it is none of ours.
pub(super) fn locate(key: &Key) -> Option<(Area, Owner, Vec<Segment>)> {
    let found = |area, owner, rest: &[Segment]| Some((area, owner, rest.to_vec()));
    if let Some(rest) = key.below(&["spring", "cloud", "stream"]) {
        return Some(locate_in_stream(rest));
    }
    if let Some(rest) = key.below(&["spring", "cloud", "function"]) {
        return found(Area::Function, Owner::Service, rest);
    }
    if let Some(rest) = key.below(&["spring", "kafka"]) {
        return found(Area::BootKafka, Owner::Binders(Kind::Kafka), rest);
    }
    if let Some(rest) = key.below(&["spring", "rabbitmq"]) {
        return found(Area::BootRabbit, Owner::Binders(Kind::Rabbit), rest);
    }
    key.below(&["spring", "ssl", "bundle"]).and_then(|rest| found(Area::Service, Owner::Bundle, rest))
}

fn locate_in_stream(rest: &[Segment]) -> (Area, Owner, Vec<Segment>) {
    let is = |index: usize, name: &str| rest.get(index).is_some_and(|segment| segment.is(name));
    let name = |index: usize| rest.get(index).map(|segment| segment.text.clone()).unwrap_or_default();
    let side = |from: usize| match () {
        () if is(from, "consumer") => Some((Area::Consumer, from + 1)),
        () if is(from, "producer") => Some((Area::Producer, from + 1)),
        () => None,
    };
    let tail = |from: usize| rest.get(from..).unwrap_or_default().to_vec();
    if is(0, "bindings") && rest.len() > 2 {
        let (area, from) = side(2).unwrap_or((Area::Binding, 2));
        return (area, Owner::Binding(name(1)), tail(from));
    }
    if is(0, "default") && rest.len() > 1 {
        let (area, from) = side(1).unwrap_or((Area::Binding, 1));
        return (area, Owner::Default, tail(from));
    }
    if is(0, "binders") && rest.len() > 2 {
        let owner = if is(2, "environment") { Owner::Environment(name(1)) } else { Owner::Entry(name(1)) };
        let from = if is(2, "environment") { 3 } else { 2 };
        return (Area::Binder, owner, tail(from));
    }
    let kind = rest.first().and_then(|segment| Kind::of(&segment.text)).filter(|_| rest.len() > 2);
    let Some(kind) = kind else { return (Area::Service, Owner::Service, rest.to_vec()) };
    let (binder, consumer, producer) = match kind {
        Kind::Kafka => (Area::KafkaBinder, Area::KafkaConsumer, Area::KafkaProducer),
        Kind::Rabbit => (Area::RabbitBinder, Area::RabbitConsumer, Area::RabbitProducer),
    };
    let of_kind = |area: Area| if area == Area::Consumer { consumer } else { producer };
    match (side(2), side(3)) {
        _ if is(1, "binder") => (binder, Owner::Binders(kind), tail(2)),
        (Some((area, from)), _) if is(1, "default") => (of_kind(area), Owner::DefaultOf(kind), tail(from)),
        (_, Some((area, from))) if is(1, "bindings") => (of_kind(area), Owner::BindingOf(kind, name(2)), tail(from)),
        _ => (Area::Service, Owner::Service, rest.to_vec()),
    }
}

/// Finds the binders: those that the file declares, else those that it names or has settings for.
pub(super) fn find(all: &Properties) -> Vec<BinderPlan> {
    let located: Vec<(Owner, &Entry)> =
        all.entries().filter_map(|entry| locate(&entry.key).map(|(_, owner, _)| (owner, entry))).collect();
    let mut binders: Vec<BinderPlan> = Vec::new();
    for (owner, _) in &located {
        if let Owner::Entry(name) | Owner::Environment(name) = owner
            && !binders.iter().any(|binder| binder.name.eq_ignore_ascii_case(name))
        {
            binders.push(declared(all, name));
        }
    }
    if binders.iter().any(|binder| binder.candidate) {
        return binders;
    }
    let chosen = all.entries().filter(|entry| is_choice(&entry.key)).map(|entry| text(&entry.value));
    let mut names: Vec<String> = chosen.filter(|name| Kind::of(name).is_some()).collect();
    let named = |wanted: fn(&Key) -> bool| {
        let of_kind = located.iter().filter(|(_, entry)| wanted(&entry.key)).filter_map(|(owner, _)| match owner {
            Owner::Binders(kind) | Owner::DefaultOf(kind) | Owner::BindingOf(kind, _) => Some(kind.name().to_owned()),
            _ => None,
        });
        of_kind.collect::<Vec<_>>()
    };
    names.extend(named(|key| key.below(&["spring", "cloud", "stream"]).is_some()));
    if names.is_empty() {
        names.extend(named(|_| true));
    }
    for name in names {
        if !binders.iter().any(|binder| binder.name == name) {
            binders.push(BinderPlan::new(&name, Kind::of(&name)));
        }
    }
    binders
}

fn declared(all: &Properties, name: &str) -> BinderPlan {
    let get =
        |key: &str| all.get(&format!("spring.cloud.stream.binders[{name}].{key}")).map(|entry| text(&entry.value));
    let kind = get("type").map_or_else(|| Kind::of(name), |kind| Kind::of(&kind));
    let candidate = get("default-candidate").is_none_or(|text| flag(&text) != Ok(false));
    BinderPlan { candidate, ..BinderPlan::new(name, kind) }
}

/// Whether a property names the binder of one or of all bindings.
fn is_choice(key: &Key) -> bool {
    let Some(rest) = key.below(&["spring", "cloud", "stream"]) else { return false };
    match rest {
        [first] => first.is("default-binder"),
        [first, _, last] => first.is("bindings") && last.is("binder"),
        _ => false,
    }
}
