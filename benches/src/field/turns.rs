//! Runs all who are in the field by turns, each in a process of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::plan::{CALM, OWN, PEERS, Part, ROUNDS, Rate, SMALL, Step, plan};
use super::protocol::{Broker, Case, Line, Task, read};
use super::results::{Results, home, path};
use super::tables::Field;
use crate::measure::{by_turns, load, median};

/// How long a program may take; it ends itself long before if nothing happens.
const PATIENCE: Duration = Duration::from_secs(1200);

/// What the command line asks for.
#[derive(Debug, PartialEq)]
struct Wish {
    broker: Broker,
    quick: bool,
    rounds: usize,
    parts: Vec<Part>,
    players: Vec<Entry>,
}

/// Somebody who is asked, and the program that does it.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    who: String,
    /// `None` is this program.
    program: Option<PathBuf>,
}

impl Wish {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let [broker, options @ ..] = words else { return Err("the broker is missing".to_owned()) };
        let own = OWN.iter().map(|who| Entry { who: (*who).to_owned(), program: None });
        let (quick, rounds, parts) = (false, ROUNDS, Part::ALL.to_vec());
        let mut wish = Self { broker: read(broker)?, quick, rounds, parts, players: own.collect() };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let mut value = || options.next().ok_or(format!("{option} needs a value"));
            match *option {
                "--quick" => (wish.quick, wish.rounds) = (true, 1),
                "--rounds" => {
                    let rounds = value()?.parse().ok().filter(|rounds| *rounds > 0);
                    wish.rounds = rounds.ok_or("--rounds must be 1 or more")?;
                }
                "--parts" => wish.parts = value()?.split(',').map(read).collect::<Result<_, _>>()?,
                "--peers" => wish.players.extend(peers(value()?)),
                _ => return Err(format!("there is no option {option}")),
            }
        }
        Ok(wish)
    }
}

/// Reads `PROGRAM` or `PROGRAM=WHO,WHO`.
fn peers(text: &str) -> Vec<Entry> {
    let (program, names) = text.split_once('=').unwrap_or((text, ""));
    let names: Vec<&str> = if names.is_empty() { PEERS.to_vec() } else { names.split(',').collect() };
    let entry = |who: &str| Entry { who: who.to_owned(), program: Some(program.into()) };
    names.into_iter().map(entry).collect()
}

/// Measures all, prints the tables of a broker, and writes its results unless it was quick.
pub fn main(words: &[&str]) -> ExitCode {
    let wish = match Wish::parse(words) {
        Ok(wish) => wish,
        Err(cause) => {
            eprintln!("benches field: {cause}");
            return ExitCode::from(2);
        }
    };
    match measure(&wish, &home()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("benches field: {failed} runs failed, the tables say why");
            ExitCode::FAILURE
        }
        Err(cause) => {
            eprintln!("benches field: {cause}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many runs have failed.
fn measure(wish: &Wish, home: &Path) -> Result<usize, String> {
    // half of what is measured now, or was before
    let mut both = Results::read(&path(home, wish.broker, Part::Throughput)).ok();
    let mut failed = 0;
    for &part in &wish.parts {
        let plan = plan(wish.broker, part);
        if plan.is_empty() {
            continue;
        }
        let path = path(home, wish.broker, part);
        let partial = path.with_extension("partial");
        let mut results = Results {
            broker: wish.broker,
            part,
            date: today(),
            compiler: env!("COMPILER").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load: [load(), load()],
            rounds: wish.rounds,
            quick: wish.quick,
            versions: Vec::new(),
            lines: Vec::new(),
        };
        for step in plan {
            let rate = rate(&step, both.as_ref());
            let step = rate.map_or(step.clone(), |rate| step.at_rate(rate));
            let step = if wish.quick { step.quick() } else { step };
            play(wish, &step, rate, &mut results);
            results.load[1] = load();
            if !wish.quick {
                // what is measured is not lost if the next step is interrupted, and what was measured before neither
                results.write(&partial)?;
            }
        }
        if !wish.quick {
            let moved = std::fs::rename(&partial, &path);
            moved.map_err(|cause| format!("cannot write {}: {cause}", path.display()))?;
        }
        println!("{}", Field(&results).tables());
        failed += results.lines.iter().filter(|measured| measured.line.failed.is_some()).count();
        if part == Part::Throughput {
            both = Some(results);
        }
    }
    Ok(failed)
}

fn today() -> String {
    let date = Command::new("date").arg("+%F").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&date).trim().to_owned()
}

/// The rate of a step; half of the bare client's median is rounded, so that it is easy to read.
fn rate(step: &Step, both: Option<&Results>) -> Option<f64> {
    match step.rate {
        Rate::None => None,
        Rate::Calm => Some(CALM),
        Rate::Half => {
            let lines = both.into_iter().flat_map(|results| &results.lines).map(|measured| &measured.line);
            let both = lines.filter(|line| {
                (line.who.as_str(), line.case, line.size, line.settings, line.bare)
                    == ("raw", Case::Both, SMALL, step.settings, false)
            });
            let rates: Vec<f64> = both.filter_map(Line::per_second).collect();
            if rates.is_empty() {
                eprintln!("benches field: throughput was not measured, so half of it is taken for {CALM} messages/s");
                Some(CALM)
            } else {
                Some((median(rates).0 / 2.0 / 100.0).round().max(1.0) * 100.0)
            }
        }
    }
}

/// One step: a round that does not count, unless it is only to be seen that all works, and those that do.
fn play(wish: &Wish, step: &Step, rate: Option<f64>, results: &mut Results) {
    let mut players: Vec<Asked<'_>> =
        wish.players.iter().filter(|player| step.asks(&player.who)).map(Asked::new).collect();
    let rounds = if step.once { 1 } else { wish.rounds };
    let first = usize::from(wish.quick || step.once);
    for round in first..=rounds {
        for index in by_turns(round, players.len()) {
            let player = &mut players[index];
            let task = Task {
                who: player.entry.who.clone(),
                broker: wish.broker,
                case: step.case,
                settings: step.settings,
                messages: step.messages,
                size: step.size,
                rate,
                bare: step.bare,
                beside: step.beside,
                handler: step.handler,
                set: step.set.clone(),
            };
            let line = ask(player.entry.program.as_deref(), &task);
            eprintln!("round {round}: {}", serde_json::to_string(&line).expect("it is JSON"));
            let has_figures = player.note(&line);
            // that somebody can't is said even if it shows in the round that does not count
            if round > 0 || !has_figures {
                results.push(round, line);
            }
        }
        players.retain(|player| !player.is_out);
    }
}

/// Somebody who is asked, and whether that is worth it.
struct Asked<'a> {
    entry: &'a Entry,
    failed: usize,
    is_out: bool,
}

impl<'a> Asked<'a> {
    fn new(entry: &'a Entry) -> Self {
        Self { entry, failed: 0, is_out: false }
    }

    /// Notes an answer: who can't is not asked again, nor is who has failed twice. Returns whether it has figures.
    fn note(&mut self, line: &Line) -> bool {
        self.failed += usize::from(line.failed.is_some());
        self.is_out = line.unsupported.is_some() || self.failed > 1;
        line.unsupported.is_none() && line.failed.is_none()
    }
}

/// Asks a program; that it fails is an answer too.
fn ask(program: Option<&Path>, task: &Task) -> Line {
    let failed = |cause: String| Line { failed: Some(cause), ..Line::new(task, String::new()) };
    let program = match program.map_or_else(std::env::current_exe, |program| Ok(program.to_owned())) {
        Ok(program) => program,
        Err(cause) => return failed(cause.to_string()),
    };
    let (text, errors, status) = match output(&program, task) {
        Ok(output) => output,
        Err(cause) => return failed(cause),
    };
    if !status.success() {
        return failed(format!("{status}: {}", reason(&errors)));
    }
    Line::parse(&text).unwrap_or_else(failed)
}

/// What a program said last, without what a panic says of itself.
fn reason(errors: &str) -> &str {
    let mut lines = errors.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with("note: ")).unwrap_or("it said nothing")
}

/// Runs a program to its end, or ends it.
fn output(program: &Path, task: &Task) -> Result<(String, String, std::process::ExitStatus), String> {
    let mut command = Command::new(program);
    command.arg("measure").args(task.words()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // a reason in one line
    command.env("RUST_BACKTRACE", "0");
    let mut child = command.spawn().map_err(|cause| format!("{} does not start: {cause}", word_of(program)))?;
    let text = all(child.stdout.take().expect("it is piped"));
    let errors = all(child.stderr.take().expect("it is piped"));
    let Ok(text) = text.recv_timeout(PATIENCE) else {
        let killed = child.kill().and_then(|()| child.wait());
        return Err(format!("it was ended after {PATIENCE:?}: {killed:?}"));
    };
    let status = child.wait().map_err(|cause| cause.to_string())?;
    Ok((text, errors.recv_timeout(PATIENCE).unwrap_or_default(), status))
}

fn word_of(program: &Path) -> String {
    program.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads all that a program prints.
fn all(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, text) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // what came before an error is worth as much
        let _ = from.read_to_end(&mut bytes);
        // nobody waits any more if it took too long
        let _ = to.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::protocol::Settings;
    use crate::field::results::tests::{line, results};

    #[test]
    fn a_wish_names_all_who_play() {
        let wish = Wish::parse(&["kafka", "--peers", "a=x,y", "--rounds", "3", "--peers", "b"]).expect("valid");
        assert_eq!((wish.broker, wish.quick, wish.rounds), (Broker::Kafka, false, 3));
        assert_eq!(wish.players.len(), OWN.len() + 2 + PEERS.len());
        assert_eq!(wish.players[OWN.len()], Entry { who: "x".to_owned(), program: Some("a".into()) });
        assert_eq!(wish.parts, Part::ALL);
        assert_eq!(Wish::parse(&["memory", "--quick"]).map(|wish| (wish.quick, wish.rounds)), Ok((true, 1)));
        let parts = Wish::parse(&["memory", "--parts", "first,sizes"]).map(|wish| wish.parts);
        assert_eq!(parts, Ok(vec![Part::First, Part::Sizes]));
        let refused: [&[&str]; 6] = [
            &["kafka", "--rounds", "0"],
            &["kafka", "--rounds"],
            &["nats"],
            &[],
            &["kafka", "--peer"],
            &["kafka", "--parts", "x"],
        ];
        for words in refused {
            assert!(Wish::parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn half_is_of_what_the_bare_client_reaches_with_the_same_settings() {
        let mut results = results(Broker::Kafka, Part::Throughput);
        for (words, seconds) in [
            ("raw kafka both --messages 100000 --size 130", 1.0),
            ("raw kafka both --messages 100000 --size 130 --settings equal", 0.1),
            ("ours kafka both --messages 100000 --size 130", 0.1),
            ("raw kafka both --messages 100000 --size 1024", 0.1),
        ] {
            results.push(1, line(words, seconds));
        }
        let step = |settings, rate| {
            let plan = [plan(Broker::Kafka, Part::Throughput), plan(Broker::Kafka, Part::Latency)].concat();
            plan.into_iter().find(|step| (step.settings, step.rate) == (settings, rate)).expect("it is planned")
        };
        assert_eq!(rate(&step(Settings::Defaults, Rate::Half), Some(&results)), Some(50_000.0));
        assert_eq!(rate(&step(Settings::Equal, Rate::Half), Some(&results)), Some(500_000.0));
        assert_eq!(rate(&step(Settings::Equal, Rate::Calm), Some(&results)), Some(500.0));
        assert_eq!(rate(&step(Settings::Equal, Rate::None), Some(&results)), None);
        assert_eq!(rate(&step(Settings::Equal, Rate::Half), None), Some(CALM), "nothing was measured");
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let task = Task::parse(&["x", "kafka", "both", "--messages", "9", "--size", "130"]).expect("valid");
        let line = ask(Some(Path::new("/bin/cat")), &task);
        assert!(line.failed.is_some_and(|why| why.starts_with("exit status: 1: ")));
        let line = ask(Some(Path::new("/bin/echo")), &task);
        assert!(line.failed.is_some_and(|why| why.contains("in measure x kafka both --messages 9")));
        let line = ask(Some(Path::new("nobody/has/this")), &task);
        assert!(line.failed.is_some_and(|why| why.starts_with("this does not start: ")));
    }
    #[test]
    fn a_reason_is_what_was_said_last() {
        let panic = "thread 'main' panicked at x.rs:1:1:\nno broker\nnote: run with `RUST_BACKTRACE=1`\n\n";
        assert_eq!([panic, " \n"].map(reason), ["no broker", "it said nothing"]);
    }

    #[test]
    fn who_fails_once_is_asked_again() {
        let entry = Entry { who: "x".to_owned(), program: None };
        let answer = |failed: bool, unsupported: bool| Line {
            failed: failed.then(String::new),
            unsupported: unsupported.then(String::new),
            ..line("raw kafka both --messages 9 --size 130", 1.0)
        };
        let mut asked = Asked::new(&entry);
        assert!(asked.note(&answer(false, false)) && !asked.note(&answer(true, false)) && !asked.is_out);
        assert!(!asked.note(&answer(true, false)) && asked.is_out);
        let mut asked = Asked::new(&entry);
        assert!(!asked.note(&answer(false, true)) && asked.is_out);
    }
}
