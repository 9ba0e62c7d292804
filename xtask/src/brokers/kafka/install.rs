//! Kafka's libraries by Maven, and an archive of its classes that makes later starts faster.

use std::{fs, process::Command, time::Duration};

use nix::sys::signal::Signal;

use super::{
    super::{
        control,
        home::{Home, render},
        packages::{self, Need},
        ports,
        process::Process,
        server::Server,
    },
    Kafka, jvm,
};
use crate::{
    error::{Context, Failure, Result},
    run, signals,
};

const POM: &str = include_str!("../../../templates/kafka/pom.xml");
const VERSION: &str = "4.3.1";
const LOG4J: &str = "2.24.3";
const ATTEMPTS: usize = 3;
/// Where the two files of an empty data folder are kept.
pub(super) const FORMATTED: &str = "formatted-with-users";

/// What must be installed to get and to run Kafka.
pub(super) fn needs() -> Vec<Need> {
    let maven = || packages::program("mvn").is_some();
    vec![
        Need { what: "Java 17 or later", package: "default-jre-headless", present: jvm::usable },
        Need { what: "Maven", package: "maven", present: maven },
    ]
}

/// Downloads the libraries unless those of this very list are there.
pub(super) fn libraries(home: &Home) -> Result<()> {
    let (libs, draft, pom) = (home.join("libs"), home.join("libs.new"), pom());
    if fs::read_to_string(libs.join("pom.xml")).is_ok_and(|have| have == pom) {
        return Ok(());
    }
    eprintln!("kafka: fetching the libraries of Kafka {VERSION} with Maven");
    clear(home)?;
    let file = home.write("pom.xml", &pom)?;
    let mut attempt = 1;
    loop {
        let mut command = Command::new("mvn");
        command.args(["-B", "-q", "-ntp", "-f"]).arg(&file).arg("dependency:copy-dependencies");
        command.args(["-DincludeScope=runtime", &format!("-DoutputDirectory={}", draft.display())]);
        match run::run_ok(run::quiet_stdout(&mut command), "kafka: fetching the libraries") {
            Ok(()) => break,
            Err(failure) if failure.code() != 1 || attempt == ATTEMPTS => return Err(failure),
            Err(failure) => eprintln!("{failure}; trying again"),
        }
        attempt += 1;
    }
    let done = fs::copy(&file, draft.join("pom.xml")).and_then(|_| fs::rename(&draft, &libs));
    done.context("cannot put the libraries in place")
}

/// Makes the archive unless there is one for this Java: a node runs once with an order to write it at its end.
///
/// A node without it only starts more slowly, so a failure is told and forgotten.
pub(super) fn archive(home: &Home) -> Result<()> {
    let Some(archive) = jvm::archive(home).filter(|archive| !archive.exists()) else {
        return Ok(());
    };
    eprintln!("kafka: building an archive of its classes, once");
    let scratch = Home::new(home.join("training"));
    let draft = scratch.join("classes.jsa");
    let built = train(home, &scratch, &format!("-XX:ArchiveClassesAtExit={}", draft.display()));
    let built = built.and_then(|()| fs::rename(&draft, &archive).context("cannot keep the archive"));
    let removed = fs::remove_dir_all(scratch.path());
    if let Err(failure) = built {
        signals::check()?;
        eprintln!("kafka: no archive, starts will be slower: {failure}");
    }
    removed.context("cannot delete the scratch node")
}

fn train(home: &Home, scratch: &Home, option: &str) -> Result<()> {
    scratch.create()?;
    let node = Kafka { node: None };
    let ports = ports::choose(&node.ports())?;
    let properties = super::properties(None, scratch, &ports)?;
    let processes = super::start(home, scratch, &properties, None, &[option.to_owned()])?;
    let trained = control::await_ready("kafka", &processes, || node.ready(&ports));
    let ended = trained.is_ok() && write_archive(&processes);
    for process in &processes {
        process.end(None);
    }
    trained?;
    signals::check()?;
    if ended { Ok(()) } else { Err(Failure::failed("the node did not end")) }
}

/// Lets the node end by itself: that is when it writes.
fn write_archive(processes: &[Process]) -> bool {
    processes.iter().for_each(|process| process.signal(Signal::SIGTERM));
    let ended = || !processes.iter().any(Process::alive);
    signals::poll(Duration::from_secs(120), || ended() || signals::interrupted()) && ended()
}

/// Deletes what belongs to other libraries.
fn clear(home: &Home) -> Result<()> {
    for name in ["libs", "libs.new", FORMATTED] {
        if home.join(name).exists() {
            fs::remove_dir_all(home.join(name)).context(format_args!("cannot delete {name}"))?;
        }
    }
    let entries = fs::read_dir(home.path()).context("cannot read Kafka's folder")?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "jsa") {
            fs::remove_file(&path).context(format_args!("cannot delete {}", path.display()))?;
        }
    }
    Ok(())
}

fn pom() -> String {
    render(POM, &[("KAFKA", VERSION), ("LOG4J", LOG4J)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pom_names_the_versions() {
        let pom = pom();
        assert!(pom.contains("<artifactId>kafka_2.13</artifactId><version>4.3.1</version>"));
        assert!(!pom.contains('@'));
    }
}
