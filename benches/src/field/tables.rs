//! Tables of what was measured.

use std::fmt::Write;

use super::latency::Micros;
use super::plan::{LANES, OWN, Part, SMALL};
use super::protocol::{Broker, Case, Line, Settings, word};
use super::results::{Measured, Results};
use crate::measure::median;

/// Whom others are compared with.
const YARDSTICK: &str = "raw";

const OURS: &str = "ours";

/// What is measured alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub case: Case,
    pub size: usize,
    pub settings: Settings,
    pub rate: Option<f64>,
    pub messages: usize,
    pub bare: bool,
    pub beside: usize,
    pub handler: u64,
    pub set: Vec<String>,
}

impl Group {
    fn of(line: &Line) -> Self {
        let Line { case, size, settings, rate, messages, bare, beside, handler, .. } = *line;
        Self { case, size, settings, rate, messages, bare, beside, handler, set: line.set.clone() }
    }

    /// The value of a setting, if it is not the default.
    fn setting(&self, path: &str) -> Option<&str> {
        self.set.iter().find_map(|set| set.strip_prefix(path)?.strip_prefix('='))
    }
}

/// Median, lowest and highest of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub middle: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    fn of(figures: Vec<f64>) -> Option<Self> {
        if figures.is_empty() {
            return None;
        }
        let (middle, low, high) = median(figures);
        Some(Self { middle, low, high })
    }

    fn show(self, digits: fn(f64) -> String) -> String {
        format!("{} ({}–{})", digits(self.middle), digits(self.low), digits(self.high))
    }
}

/// Whether a round counts.
fn counts(measured: &Measured) -> bool {
    measured.round > 0
}

/// Results, seen as groups of those who were asked the same.
pub struct Field<'a>(pub &'a Results);

impl Field<'_> {
    fn lines<'a>(&'a self, group: &'a Group, who: &'a str) -> impl Iterator<Item = &'a Measured> {
        let lines = self.0.lines.iter().filter(|measured| counts(measured));
        lines.filter(move |measured| measured.line.who == who && Group::of(&measured.line) == *group)
    }

    /// A figure of somebody.
    pub fn figure(&self, group: &Group, who: &str, figure: impl Fn(&Line) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.lines(group, who).filter_map(|measured| figure(&measured.line)).collect())
    }

    /// A figure of somebody, divided by that of the bare client in the same round.
    fn ratio(&self, group: &Group, who: &str, figure: impl Fn(&Line) -> Option<f64>) -> Option<Spread> {
        let pairs = self.lines(group, who).filter_map(|measured| {
            let other = self.lines(group, YARDSTICK).find(|other| other.round == measured.round)?;
            Some(figure(&measured.line)? / figure(&other.line)?)
        });
        Spread::of(pairs.collect())
    }

    /// All groups, in the order in which they were measured.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups = Vec::new();
        for group in self.0.lines.iter().map(|measured| Group::of(&measured.line)) {
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        groups
    }

    /// Who has figures, in the order in which they first stand in the file.
    pub fn who(&self, group: &Group) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for measured in self.0.lines.iter().filter(|measured| counts(measured)) {
            let who = measured.line.who.as_str();
            let has_figures = measured.line.seconds.is_some() || measured.line.micros.is_some();
            if Group::of(&measured.line) == *group && has_figures && !found.contains(&who) {
                found.push(who);
            }
        }
        // who goes first depends on the rounds
        found.sort_by_key(|who| (OWN.iter().position(|own| own == who).unwrap_or(OWN.len()), *who));
        found
    }

    /// All tables.
    pub fn tables(&self) -> String {
        let mut text = self.head();
        let groups = self.groups();
        match self.0.part {
            Part::Throughput => self.of_each(&mut text, &groups, Self::throughput),
            Part::Latency => self.of_each(&mut text, &groups, Self::latency),
            Part::First => self.of_each(&mut text, &groups, Self::first),
            Part::Sizes => self.sizes(&mut text, &groups),
            Part::Bindings => self.bindings(&mut text, &groups),
            Part::Handlers => self.handlers(&mut text, &groups),
            Part::Tuning => self.tuning(&mut text, &groups),
            Part::Memory => self.memory(&mut text, &groups),
        }
        self.missing(&mut text);
        text
    }

    fn of_each(&self, text: &mut String, groups: &[Group], table: fn(&Self, &mut String, &Group)) {
        groups.iter().filter(|group| !self.who(group).is_empty()).for_each(|group| table(self, text, group));
    }

    fn head(&self) -> String {
        let Results { part, date, compiler, cores, load: [before, after], quick, versions, .. } = self.0;
        // what takes long is measured once, whatever was asked for
        let rounds = self.0.lines.iter().map(|measured| measured.round).max().unwrap_or_default();
        let quick =
            if *quick { " A quick run: it shows that everything works, **its figures say nothing**." } else { "" };
        let what = match part {
            Part::Throughput => "Throughput",
            Part::Latency => "Latency",
            Part::First => "First message",
            Part::Sizes => "Sizes",
            Part::Bindings => "Idle bindings",
            Part::Handlers => "Handlers that take time",
            Part::Tuning => "Settings",
            Part::Memory => "Memory",
        };
        format!(
            "{what}, measured on {date}, {compiler}, {cores} cores, load {before} before and {after} after, {rounds} rounds by turns; {}.{quick}\n",
            versions.join(", ")
        )
    }

    fn throughput(&self, text: &mut String, group: &Group) {
        let what = format!("{}, {} bytes, {} messages", word(group.case), group.size, group.messages);
        let header = "who | msg/s | of `raw` | µs CPU | of `raw` | allocations | peak KiB";
        let bare = if group.bare { ", without headers" } else { "" };
        table(text, &format!("{what}{bare}{}", self.with(group.settings)), header);
        for who in self.who(group) {
            let allocations = self.figure(group, who, |line| line.allocations);
            let peak = self.figure(group, who, |line| line.peak_kib.map(|kib| kib as f64));
            row(
                text,
                [
                    format!("`{who}`"),
                    show(self.figure(group, who, Line::per_second), shown),
                    show(self.ratio(group, who, Line::per_second), two),
                    show(self.figure(group, who, |line| line.cpu_micros), two),
                    show(self.ratio(group, who, |line| line.cpu_micros), two),
                    middle(allocations, two),
                    middle(peak, whole),
                ],
            );
        }
    }

    /// A latency of somebody, in ms.
    fn millis(&self, group: &Group, who: &str, of: fn(&Micros) -> f64) -> Option<Spread> {
        self.figure(group, who, |line| line.micros.as_ref().map(|micros| of(micros) / 1e3))
    }

    fn latency(&self, text: &mut String, group: &Group) {
        let rate = group.rate.unwrap_or_default();
        let what = format!("Latency at {rate} messages/s, {} bytes, {} messages", group.size, group.messages);
        table(
            text,
            &format!("{what}{}, ms", self.with(group.settings)),
            "who | p50 | p99 | p99 of `raw` | p99.9 | µs CPU",
        );
        for who in self.who(group) {
            let cpu = self.figure(group, who, |line| line.cpu_micros);
            row(
                text,
                [
                    format!("`{who}`"),
                    show(self.millis(group, who, |micros| micros.p50), two),
                    show(self.millis(group, who, |micros| micros.p99), two),
                    show(self.ratio(group, who, |line| line.micros.map(|micros| micros.p99)), two),
                    show(self.millis(group, who, |micros| micros.p999), two),
                    middle(cpu, two),
                ],
            );
        }
    }

    fn first(&self, text: &mut String, group: &Group) {
        table(text, &format!("Start to first message{}, ms", self.with(group.settings)), "who | ms");
        for who in self.who(group) {
            let millis = self.figure(group, who, |line| line.seconds.map(|seconds| seconds * 1e3));
            row(text, [format!("`{who}`"), show(millis, two)]);
        }
    }

    fn sizes(&self, text: &mut String, groups: &[Group]) {
        let header = "case | bytes | messages | ours: msg/s | of `raw` | ours: µs CPU | of `raw`";
        table(text, &format!("By size, ours and `raw`{}", self.alike()), header);
        for group in groups {
            row(
                text,
                [
                    word(group.case),
                    group.size.to_string(),
                    group.messages.to_string(),
                    show(self.figure(group, OURS, Line::per_second), shown),
                    show(self.ratio(group, OURS, Line::per_second), two),
                    show(self.figure(group, OURS, |line| line.cpu_micros), two),
                    show(self.ratio(group, OURS, |line| line.cpu_micros), two),
                ],
            );
        }
    }

    /// What an idle input takes: the memory of a process that has them, without that of one that has a single one.
    fn bindings(&self, text: &mut String, groups: &[Group]) {
        let header = "idle inputs | KiB for each: ours | `raw` | ours beyond `raw` | msg/s of the busy one | of that beside none | µs CPU | of that beside none";
        table(text, "Both sides of one channel at once, beside inputs to which nothing comes", header);
        let at = |beside| groups.iter().find(|group| group.beside == beside);
        let (Some(alone), Some(single)) = (at(0), at(1)) else { return };
        let resident = |line: &Line| line.resident_kib.first().map(|kib| *kib as f64);
        for group in groups {
            let each = |who: &str| {
                let more = self.lines(group, who).filter(|_| group.beside > 1).filter_map(|measured| {
                    let other = self.lines(single, who).find(|other| other.round == measured.round)?;
                    Some((resident(&measured.line)? - resident(&other.line)?) / (group.beside - 1) as f64)
                });
                Spread::of(more.collect())
            };
            let (ours, raw) = (each(OURS), each(YARDSTICK));
            let beyond = ours.zip(raw).map(|(ours, raw)| one(ours.middle - raw.middle));
            let of_alone = |figure: fn(&Line) -> Option<f64>| {
                Some(two(self.figure(group, OURS, figure)?.middle / self.figure(alone, OURS, figure)?.middle))
            };
            row(
                text,
                [
                    group.beside.to_string(),
                    show(ours, one),
                    show(raw, one),
                    beyond.unwrap_or_default(),
                    show(self.figure(group, OURS, Line::per_second), shown),
                    of_alone(Line::per_second).unwrap_or_default(),
                    show(self.figure(group, OURS, |line| line.cpu_micros), two),
                    of_alone(|line| line.cpu_micros).unwrap_or_default(),
                ],
            );
        }
    }

    fn handlers(&self, text: &mut String, groups: &[Group]) {
        let what = format!("consume, {SMALL} bytes, `concurrency: {LANES}`");
        table(text, &what, "ordering | handler, ms | messages | msg/s | µs CPU");
        for group in groups {
            let ordering = group.setting("consumer/ordering").unwrap_or_default();
            row(
                text,
                [
                    format!("`{ordering}`"),
                    group.handler.to_string(),
                    group.messages.to_string(),
                    show(self.figure(group, OURS, Line::per_second), shown),
                    show(self.figure(group, OURS, |line| line.cpu_micros), two),
                ],
            );
        }
    }

    fn tuning(&self, text: &mut String, groups: &[Group]) {
        let header =
            "set | publish: msg/s | µs CPU | consume: msg/s | µs CPU | latency at 500/s: p50, ms | p99, ms | µs CPU";
        table(text, "Ours, with the defaults but for what is set", header);
        let mut seen: Vec<&[String]> = Vec::new();
        for Group { set, .. } in groups {
            if seen.contains(&set.as_slice()) {
                continue;
            }
            seen.push(set);
            let of = |case| groups.iter().find(|group| group.case == case && group.set == *set);
            let cpu = |case| middle(of(case).and_then(|group| self.figure(group, OURS, |line| line.cpu_micros)), two);
            let rate = |case| show(of(case).and_then(|group| self.figure(group, OURS, Line::per_second)), shown);
            let millis = |share: fn(&Micros) -> f64| {
                show(of(Case::Latency).and_then(|group| self.millis(group, OURS, share)), two)
            };
            let names: Vec<String> = set.iter().map(|set| format!("`{set}`")).collect();
            row(
                text,
                [
                    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") },
                    rate(Case::Publish),
                    cpu(Case::Publish),
                    rate(Case::Consume),
                    cpu(Case::Consume),
                    millis(|micros| micros.p50),
                    millis(|micros| micros.p99),
                    cpu(Case::Latency),
                ],
            );
        }
    }

    fn memory(&self, text: &mut String, groups: &[Group]) {
        for group in groups {
            let Group { handler, messages, size, .. } = group;
            let what = format!(
                "{messages} messages of {size} bytes are there, {LANES} handlers of {handler} ms: memory of the process, KiB"
            );
            table(text, &what, "handled | KiB");
            let Some(line) = self.lines(group, OURS).next().map(|measured| &measured.line) else { continue };
            for (tenth, kib) in line.resident_kib.iter().enumerate() {
                row(text, [format!("{} %", tenth * 10), kib.to_string()]);
            }
        }
    }

    /// Who could not do what, and why; once for each reason.
    fn missing(&self, text: &mut String) {
        let mut rows: Vec<[String; 3]> = Vec::new();
        for Measured { line, .. } in &self.0.lines {
            let why = match (&line.unsupported, &line.failed) {
                (Some(why), _) => why.clone(),
                (None, Some(why)) => format!("failed: {why}"),
                (None, None) => continue,
            };
            let (who, case) = (format!("`{}`", line.who), word(line.case));
            let why = why.replace('|', "/").replace('\n', " ");
            match rows.iter_mut().find(|row| row[0] == who && row[2] == why) {
                Some(row) if !row[1].split(", ").any(|known| known == case) => row[1] = format!("{}, {case}", row[1]),
                Some(_) => {}
                None => rows.push([who, case, why]),
            }
        }
        if rows.is_empty() {
            return;
        }
        rows.sort();
        text.push_str(
            "\nWhat could not be measured, or has failed in a round:\n\n| who | case | why |\n|---|---|---|\n",
        );
        rows.into_iter().for_each(|cells| row(text, cells));
    }

    /// Says whose settings, where there are any.
    fn with(&self, settings: Settings) -> &'static str {
        match (self.0.broker, settings) {
            (Broker::Kafka, Settings::Defaults) => ", each with its own defaults",
            (Broker::Kafka, Settings::Equal) => ", all with our settings",
            _ => "",
        }
    }

    /// What stands over ours and `raw`, which are always set alike.
    fn alike(&self) -> &'static str {
        self.with(Settings::Equal)
    }
}

/// The groups of which there is a chart: small messages, and latencies where nobody is busy.
pub fn charted(field: &Field<'_>) -> Vec<Group> {
    let mut seen = Vec::new();
    let mut groups = field.groups();
    if ![Part::Throughput, Part::Latency, Part::First].contains(&field.0.part) {
        return Vec::new();
    }
    groups.retain(|group| {
        let name = (group.case, group.settings);
        let is_first = group.size == SMALL && !group.bare && !seen.contains(&name) && !field.who(group).is_empty();
        if is_first {
            seen.push(name);
        }
        is_first
    });
    groups
}

pub fn title(broker: Broker) -> &'static str {
    match broker {
        Broker::Memory => "Memory",
        Broker::Rabbit => "RabbitMQ",
        Broker::Kafka => "Kafka",
    }
}

/// Begins a table.
fn table(text: &mut String, what: &str, header: &str) {
    let columns = header.split(" | ").count();
    let _ = writeln!(text, "\n{what}:\n\n| {header} |\n|{}", "---|".repeat(columns));
}

fn row<const N: usize>(text: &mut String, cells: [String; N]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn show(spread: Option<Spread>, digits: fn(f64) -> String) -> String {
    spread.map_or_else(String::new, |spread| spread.show(digits))
}

fn middle(spread: Option<Spread>, digits: fn(f64) -> String) -> String {
    spread.map_or_else(String::new, |spread| digits(spread.middle))
}

/// A figure with three digits that count.
pub fn shown(figure: f64) -> String {
    match figure {
        figure if figure >= 1e6 => format!("{:.2} M", figure / 1e6),
        figure if figure >= 1e5 => format!("{:.0} k", figure / 1e3),
        figure if figure >= 1e4 => format!("{:.1} k", figure / 1e3),
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure => format!("{figure:.2}"),
    }
}

fn two(figure: f64) -> String {
    format!("{figure:.2}")
}

fn one(figure: f64) -> String {
    format!("{figure:.1}")
}

fn whole(figure: f64) -> String {
    format!("{figure:.0}")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::field::results::tests::{line, results};

    pub fn measured() -> Results {
        let mut results = results(Broker::Kafka, Part::Throughput);
        let publish = "kafka publish --messages 1000 --size 130";
        for (round, ours, raw) in [(0, 9.0, 9.0), (1, 0.5, 1.0), (2, 1.0, 1.0), (3, 2.0, 1.0)] {
            results.push(round, line(&format!("raw {publish}"), raw));
            results.push(round, line(&format!("tuned {publish}"), raw / 2.0));
            results.push(round, line(&format!("ours {publish}"), ours));
        }
        let mut peer = line("shove kafka both --messages 1000 --size 130", 1.0);
        (peer.seconds, peer.unsupported) = (None, Some("no keys".to_owned()));
        results.push(0, peer);
        results
    }

    fn tables(part: Part, lines: Vec<Line>) -> String {
        let mut results = results(Broker::Kafka, part);
        lines.into_iter().for_each(|line| results.push(1, line));
        Field(&results).tables()
    }

    fn assert_has(text: &str, rows: &[&str]) {
        for row in rows {
            assert!(text.contains(row), "{row}\n{text}");
        }
    }

    #[test]
    fn a_ratio_is_of_the_same_round_and_the_first_round_does_not_count() {
        let text = Field(&measured()).tables();
        assert_has(
            &text,
            &[
                "publish, 130 bytes, 1000 messages, each with its own defaults:\n",
                "| `ours` | 1000 (500–2000) | 1.00 (0.50–2.00) | 2.00 (1.00–4.00) | 1.00 (0.50–2.00) | 4.00 | 30000 |",
                "| `tuned` | 2000 (2000–2000) | 2.00 (2.00–2.00) |",
                "| `shove` | both | no keys |",
            ],
        );
        let head = "Throughput, measured on 2026-11-30, rustc 1, 2 cores, load 0.1 before and 2.0 after, 3 rounds";
        assert!(text.starts_with(head), "{text}");
        assert!(!text.contains("both, 130 bytes"), "nobody could do it: {text}");
    }

    #[test]
    fn latencies_have_a_table() {
        let latency = |who: &str, by: f64| {
            let mut line = line(&format!("{who} kafka latency --messages 1000 --size 130 --rate 500"), 1.0);
            line.micros = Some(Micros { p50: 500.0 * by, p99: 1500.0 * by, p999: 2500.0 * by, max: 9000.0 });
            line
        };
        let text = tables(Part::Latency, vec![latency("raw", 1.0), latency("tuned", 2.0)]);
        assert_has(
            &text,
            &[
                "Latency at 500 messages/s, 130 bytes, 1000 messages, each with its own defaults, ms:\n",
                "| `tuned` | 1.00 (1.00–1.00) | 3.00 (3.00–3.00) | 2.00 (2.00–2.00) | 5.00 (5.00–5.00) | 2.00 |",
            ],
        );
    }

    #[test]
    fn sizes_have_a_table() {
        let of = |who: &str, seconds| {
            line(&format!("{who} kafka consume --messages 101 --size 10 --settings equal"), seconds)
        };
        let text = tables(Part::Sizes, vec![of("ours", 0.5), of("raw", 1.0)]);
        assert_has(
            &text,
            &[
                "By size, ours and `raw`, all with our settings:\n",
                "| consume | 10 | 101 | 200 (200–200) | 2.00 (2.00–2.00) | 1.00 (1.00–1.00) | 0.50 (0.50–0.50) |",
            ],
        );
    }

    #[test]
    fn what_idle_inputs_take_is_without_what_there_is_anyway() {
        let of = |who: &str, beside: usize, kib, seconds| {
            let beside = if beside > 0 { format!(" --beside {beside}") } else { String::new() };
            let mut line = line(&format!("{who} kafka both --messages 1000 --size 130{beside}"), seconds);
            line.resident_kib = vec![kib];
            line
        };
        let lines = vec![
            of("ours", 0, 900, 1.0),
            of("ours", 1, 1000, 1.0),
            of("raw", 1, 500, 1.0),
            of("ours", 11, 1300, 2.0),
            of("raw", 11, 700, 1.0),
        ];
        let text = tables(Part::Bindings, lines);
        assert_has(
            &text,
            &[
                "| 0 |  |  |  | 1000 (1000–1000) | 1.00 | 2.00 (2.00–2.00) | 1.00 |",
                "| 1 |  |  |  | 1000 (1000–1000) | 1.00 | 2.00 (2.00–2.00) | 1.00 |",
                "| 11 | 30.0 (30.0–30.0) | 20.0 (20.0–20.0) | 10.0 | 500 (500–500) | 0.50 | 4.00 (4.00–4.00) | 2.00 |",
            ],
        );
    }

    #[test]
    fn handlers_settings_and_memory_have_tables() {
        let set = "--set consumer/ordering=key --set consumer/concurrency=16";
        let handler = line(&format!("ours kafka consume --messages 101 --size 130 --handler 10 {set}"), 0.5);
        assert_has(
            &tables(Part::Handlers, vec![handler]),
            &["| `key` | 10 | 101 | 200 (200–200) | 1.00 (1.00–1.00) |"],
        );

        let linger = "--set producer/kafka/linger=5ms";
        let mut latency = line(&format!("ours kafka latency --messages 1000 --size 130 --rate 500 {linger}"), 1.0);
        latency.micros = Some(Micros { p50: 500.0, p99: 1500.0, p999: 2500.0, max: 9000.0 });
        let lines = vec![
            line(&format!("ours kafka publish --messages 1000 --size 130 {linger}"), 1.0),
            latency,
            line("ours kafka publish --messages 1000 --size 130", 2.0),
        ];
        assert_has(
            &tables(Part::Tuning, lines),
            &[
                "| `producer/kafka/linger=5ms` | 1000 (1000–1000) | 2.00 |  |  | 0.50 (0.50–0.50) | 1.50 (1.50–1.50) | 2.00 |",
                "| nothing | 500 (500–500) | 4.00 |  |  |  |  |  |",
            ],
        );

        let mut hold = line("ours kafka hold --messages 101 --size 1024 --handler 100", 0.5);
        hold.resident_kib = vec![5000, 5100];
        assert_has(&tables(Part::Memory, vec![hold]), &["| 0 % | 5000 |\n| 10 % | 5100 |\n"]);
    }

    #[test]
    fn who_is_ours_stands_first() {
        let mut results = measured();
        results.push(1, line("mq-bridge kafka publish --messages 1000 --size 130", 1.0));
        let field = Field(&results);
        assert_eq!(field.who(&field.groups()[0]), ["ours", "raw", "tuned", "mq-bridge"]);
    }

    #[test]
    fn only_small_messages_that_were_measured_are_charted() {
        let mut results = measured();
        results.push(1, line("ours kafka consume --messages 101 --size 1024", 0.5));
        let field = Field(&results);
        let cases: Vec<Case> = charted(&field).iter().map(|group| group.case).collect();
        assert_eq!(cases, [Case::Publish]);
    }

    #[test]
    fn three_digits_are_shown() {
        let figures = [0.5, 123.4, 12_345.0, 123_456.0, 2_345_678.0];
        assert_eq!(figures.map(shown), ["0.50", "123", "12.3 k", "123 k", "2.35 M"]);
    }
}
