//! How Java is called: small heap, fast start.

use std::{fs, path::PathBuf, process::Command};

use super::super::home::Home;
use crate::error::{Context, Failure, Result};

/// A call of Java with Kafka's libraries, and the archive of classes if there is one; the main class follows.
pub(super) fn command(source: &Home, home: &Home) -> Result<Command> {
    let mut command = Command::new("java");
    command.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    if let Some(archive) = archive(source).filter(|archive| archive.exists()) {
        command.args([&format!("-XX:SharedArchiveFile={}", archive.display()), "-Xshare:auto", "-Xlog:cds=off"]);
    }
    command.arg(format!("-Dlog4j2.configurationFile={}", home.join("log4j2.xml").display()));
    command.args(["-Djava.net.preferIPv4Stack=true", "-cp", &class_path(source)?]);
    Ok(command)
}

/// The archive of classes for the Java in use; an archive of another one is useless.
pub(super) fn archive(source: &Home) -> Option<PathBuf> {
    let version = version()?.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    Some(source.join(&format!("classes-{version}.jsa")))
}

/// Whether there is a Java that runs Kafka.
pub(super) fn usable() -> bool {
    version().as_deref().and_then(major).is_some_and(|major| major >= 17)
}

/// All libraries in a fixed order: the archive of classes holds only for the class path it was made with.
fn class_path(source: &Home) -> Result<String> {
    let folder = source.join("libs");
    let entries = fs::read_dir(&folder).context(format_args!("cannot read {}", folder.display()))?;
    let mut jars: Vec<_> = entries.flatten().map(|entry| entry.path().to_string_lossy().into_owned()).collect();
    jars.retain(|path| path.ends_with(".jar"));
    jars.sort_unstable();
    if jars.is_empty() {
        return Err(Failure::failed(format!("no libraries in {}", folder.display())));
    }
    Ok(jars.join(":"))
}

fn version() -> Option<String> {
    let output = Command::new("java").arg("-version").output().ok()?;
    quoted(&String::from_utf8_lossy(&output.stderr))
}

/// `17.0.15` out of `openjdk version "17.0.15" 2025-04-15`.
fn quoted(text: &str) -> Option<String> {
    Some(text.split('"').nth(1)?.to_owned())
}

fn major(version: &str) -> Option<u32> {
    version.split(['.', '-', '+']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_what_stands_in_quotes() {
        assert_eq!(quoted("openjdk version \"17.0.15\" 2025-04-15\nmore").as_deref(), Some("17.0.15"));
        assert_eq!(quoted("command not found"), None);
    }

    #[test]
    fn major_of_old_and_new_versions() {
        assert_eq!(major("1.8.0_442"), Some(1));
        assert_eq!(major("17.0.15"), Some(17));
        assert_eq!(major("25-ea"), Some(25));
    }
}
