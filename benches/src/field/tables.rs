//! Tables of what was measured.

use std::fmt::Write;

use super::plan::{OWN, SMALL};
use super::protocol::{Broker, Case, Line, Settings, word};
use super::results::{Measured, Results};
use crate::measure::median;

/// Whom others are compared with.
const YARDSTICK: &str = "raw";

/// What is measured alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    pub case: Case,
    pub size: usize,
    pub settings: Settings,
    pub rate: Option<f64>,
    pub messages: usize,
}

impl Group {
    fn of(line: &Line) -> Self {
        let Line { case, size, settings, rate, messages, .. } = *line;
        Self { case, size, settings, rate, messages }
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
    fn lines(&self, group: Group, who: &str) -> impl Iterator<Item = &Measured> {
        let lines = self.0.lines.iter().filter(|measured| counts(measured));
        lines.filter(move |measured| measured.line.who == who && Group::of(&measured.line) == group)
    }

    /// A figure of somebody.
    pub fn figure(&self, group: Group, who: &str, figure: impl Fn(&Line) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.lines(group, who).filter_map(|measured| figure(&measured.line)).collect())
    }

    /// A figure of somebody, divided by that of the bare client in the same round.
    fn ratio(&self, group: Group, who: &str, figure: impl Fn(&Line) -> Option<f64>) -> Option<Spread> {
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
    pub fn who(&self, group: Group) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for measured in self.0.lines.iter().filter(|measured| counts(measured)) {
            let who = measured.line.who.as_str();
            let has_figures = measured.line.seconds.is_some() || measured.line.micros.is_some();
            if Group::of(&measured.line) == group && has_figures && !found.contains(&who) {
                found.push(who);
            }
        }
        // who goes first depends on the rounds
        found.sort_by_key(|who| (OWN.iter().position(|own| own == who).unwrap_or(OWN.len()), *who));
        found
    }

    /// Whether a group is one of those where size is all that matters: nobody but ours and the bare client was asked.
    fn is_of_sizes(&self, group: Group) -> bool {
        self.who(group).iter().all(|who| ["ours", YARDSTICK].contains(who))
    }

    /// All tables.
    pub fn tables(&self) -> String {
        let mut text = self.head();
        let groups = self.groups();
        let thorough = groups.iter().filter(|group| !self.is_of_sizes(**group) || group.case == Case::First);
        let thorough: Vec<Group> = thorough.copied().collect();
        let mut settings: Vec<Settings> = Vec::new();
        for group in &thorough {
            if !settings.contains(&group.settings) {
                settings.push(group.settings);
            }
        }
        for settings in settings {
            let of: Vec<Group> = thorough.iter().filter(|group| group.settings == settings).copied().collect();
            self.throughput(&mut text, settings, &of);
            self.latency(&mut text, settings, &of);
            self.first(&mut text, settings, &of);
        }
        let is_side = |group: &Group| [Case::Publish, Case::Consume].contains(&group.case);
        let is_size = |group: &&Group| is_side(group) && self.is_of_sizes(**group);
        if let Some(settings) = groups.iter().find(is_size).map(|group| group.settings) {
            let of = groups.iter().filter(|group| is_side(group) && group.settings == settings);
            let mut sizes: Vec<Group> = of.copied().collect();
            sizes.sort_by_key(|group| (group.case == Case::Consume, group.size));
            self.sizes(&mut text, &sizes);
        }
        self.missing(&mut text);
        text
    }

    fn head(&self) -> String {
        let Results { broker, date, compiler, cores, load: [before, after], rounds, quick, versions, .. } = self.0;
        let quick =
            if *quick { " A quick run: it shows that everything works, **its figures say nothing**." } else { "" };
        format!(
            "### {}\n\nMeasured on {date}, {compiler}, {cores} cores, load {before} before and {after} after, {rounds} rounds by turns; {}.{quick}\n",
            title(*broker),
            versions.join(", ")
        )
    }

    fn throughput(&self, text: &mut String, settings: Settings, groups: &[Group]) {
        let cases = [Case::Publish, Case::Consume, Case::Both];
        for group in groups.iter().filter(|group| cases.contains(&group.case)) {
            let what = format!("{}, {} bytes, {} messages", word(group.case), group.size, group.messages);
            let _ = writeln!(text, "\n{what}{}:\n", self.with(settings));
            text.push_str("| who | msg/s | of `raw` | µs CPU | of `raw` | allocations | peak KiB |\n|---|---|---|---|---|---|---|\n");
            for who in self.who(*group) {
                let rate = self.figure(*group, who, Line::per_second);
                let cpu = self.figure(*group, who, |line| line.cpu_micros);
                let allocations = self.figure(*group, who, |line| line.allocations);
                let peak = self.figure(*group, who, |line| line.peak_kib.map(|kib| kib as f64));
                row(
                    text,
                    [
                        format!("`{who}`"),
                        show(rate, shown),
                        show(self.ratio(*group, who, Line::per_second), two),
                        show(cpu, two),
                        show(self.ratio(*group, who, |line| line.cpu_micros), two),
                        middle(allocations, two),
                        middle(peak, |kib| format!("{kib:.0}")),
                    ],
                );
            }
        }
    }

    fn latency(&self, text: &mut String, settings: Settings, groups: &[Group]) {
        for group in groups.iter().filter(|group| group.case == Case::Latency) {
            let rate = group.rate.unwrap_or_default();
            let with = self.with(settings);
            let _ = writeln!(
                text,
                "\nLatency at {rate} messages/s, {} bytes, {} messages{with}, ms:\n",
                group.size, group.messages
            );
            text.push_str("| who | p50 | p99 | p99.9 | µs CPU |\n|---|---|---|---|---|\n");
            for who in self.who(*group) {
                let share = |of: fn(&super::latency::Micros) -> f64| {
                    show(self.figure(*group, who, |line| line.micros.as_ref().map(|micros| of(micros) / 1e3)), two)
                };
                let cpu = self.figure(*group, who, |line| line.cpu_micros);
                let cells = [share(|m| m.p50), share(|m| m.p99), share(|m| m.p999), middle(cpu, two)];
                let [p50, p99, p999, cpu] = cells;
                row(text, [format!("`{who}`"), p50, p99, p999, cpu]);
            }
        }
    }

    fn first(&self, text: &mut String, settings: Settings, groups: &[Group]) {
        for group in groups.iter().filter(|group| group.case == Case::First) {
            let _ = writeln!(text, "\nStart to first message{}, ms:\n", self.with(settings));
            text.push_str("| who | ms |\n|---|---|\n");
            for who in self.who(*group) {
                let millis = self.figure(*group, who, |line| line.seconds.map(|seconds| seconds * 1e3));
                row(text, [format!("`{who}`"), show(millis, two)]);
            }
        }
    }

    fn sizes(&self, text: &mut String, groups: &[Group]) {
        let Some(first) = groups.first() else { return };
        let _ = writeln!(text, "\nBy size{}, ours and `raw`:\n", self.with(first.settings));
        text.push_str("| case | bytes | messages | ours: msg/s | of `raw` | ours: µs CPU | of `raw` |\n|---|---|---|---|---|---|---|\n");
        for group in groups {
            row(
                text,
                [
                    word(group.case),
                    group.size.to_string(),
                    group.messages.to_string(),
                    show(self.figure(*group, "ours", Line::per_second), shown),
                    show(self.ratio(*group, "ours", Line::per_second), two),
                    show(self.figure(*group, "ours", |line| line.cpu_micros), two),
                    show(self.ratio(*group, "ours", |line| line.cpu_micros), two),
                ],
            );
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
}

/// The groups of which there is a chart: small messages, and latencies where nobody is busy.
pub fn charted(field: &Field<'_>) -> Vec<Group> {
    let mut seen = Vec::new();
    let mut groups = field.groups();
    groups.retain(|group| {
        let name = (group.case, group.settings);
        let is_first = group.size == SMALL && !seen.contains(&name) && !field.who(*group).is_empty();
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::field::latency::Micros;
    use crate::field::results::tests::{line, results};

    pub fn measured() -> Results {
        let mut results = results(Broker::Kafka);
        let publish = "kafka publish --messages 1000 --size 130";
        for (round, ours, raw) in [(0, 9.0, 9.0), (1, 0.5, 1.0), (2, 1.0, 1.0), (3, 2.0, 1.0)] {
            results.push(round, line(&format!("raw {publish}"), raw));
            results.push(round, line(&format!("tuned {publish}"), raw / 2.0));
            results.push(round, line(&format!("ours {publish}"), ours));
        }
        let mut peer = line("shove kafka both --messages 1000 --size 130", 1.0);
        (peer.seconds, peer.unsupported) = (None, Some("no keys".to_owned()));
        results.push(0, peer);
        let mut latency = line("tuned kafka latency --messages 1000 --size 130 --rate 500", 1.0);
        latency.micros = Some(Micros { p50: 500.0, p99: 1500.0, p999: 2500.0, max: 9000.0 });
        results.push(1, latency);
        results.push(1, line("ours kafka consume --messages 101 --size 10 --settings equal", 0.5));
        results.push(1, line("raw kafka consume --messages 101 --size 10 --settings equal", 1.0));
        results
    }

    #[test]
    fn a_ratio_is_of_the_same_round_and_the_first_round_does_not_count() {
        let results = measured();
        let text = Field(&results).tables();
        let row =
            "| `ours` | 1000 (500–2000) | 1.00 (0.50–2.00) | 2.00 (1.00–4.00) | 1.00 (0.50–2.00) | 4.00 | 30000 |";
        assert!(text.contains(row), "{text}");
        let row = "| `tuned` | 2000 (2000–2000) | 2.00 (2.00–2.00) |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn latencies_sizes_and_what_is_missing_have_tables() {
        let results = measured();
        let text = Field(&results).tables();
        for row in [
            "Latency at 500 messages/s, 130 bytes, 1000 messages, each with its own defaults, ms:\n",
            "| `tuned` | 0.50 (0.50–0.50) | 1.50 (1.50–1.50) | 2.50 (2.50–2.50) | 2.00 |",
            "By size, all with our settings, ours and `raw`:\n",
            "| consume | 10 | 101 | 200 (200–200) | 2.00 (2.00–2.00) | 1.00 (1.00–1.00) | 0.50 (0.50–0.50) |",
            "| `shove` | both | no keys |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
        assert!(text.starts_with(
            "### Kafka\n\nMeasured on 2026-11-30, rustc 1, 2 cores, load 0.1 before and 2.0 after, 2 rounds"
        ));
    }

    #[test]
    fn who_is_ours_stands_first() {
        let mut results = measured();
        results.push(1, line("mq-bridge kafka publish --messages 1000 --size 130", 1.0));
        let field = Field(&results);
        assert_eq!(field.who(field.groups()[0]), ["ours", "raw", "tuned", "mq-bridge"]);
    }

    #[test]
    fn only_small_messages_that_were_measured_are_charted() {
        let results = measured();
        let field = Field(&results);
        let cases: Vec<Case> = charted(&field).iter().map(|group| group.case).collect();
        assert_eq!(cases, [Case::Publish, Case::Latency]);
    }
    #[test]
    fn three_digits_are_shown() {
        let figures = [0.5, 123.4, 12_345.0, 123_456.0, 2_345_678.0];
        assert_eq!(figures.map(shown), ["0.50", "123", "12.3 k", "123 k", "2.35 M"]);
    }
}
