//! The folder of one server: its log, its data, its processes.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::process::{HOME_VARIABLE, Process};
use crate::error::{Context, Result};

/// A server's folder below `target/brokers`.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The folder at a path; [`create`](Self::create) makes it.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes the folder with room for data.
    pub(crate) fn create(&self) -> Result<()> {
        let data = self.data();
        fs::create_dir_all(&data).context(format_args!("cannot create {}", data.display()))
    }

    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of another server of this checkout.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        Self(self.0.with_file_name(name))
    }

    /// A file or folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What the server must find again after a restart.
    pub(crate) fn data(&self) -> PathBuf {
        self.join("data")
    }

    /// Everything the server prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.join("server.log")
    }

    /// Writes a file that only the owner may read.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.join(name);
        let written = (|| {
            let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).to_owned();
            io::Write::write_all(&mut options.open(&path)?, text.as_bytes())
        })();
        written.context(format_args!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a process that goes on after this program has ended. Its command line holds `mark`.
    pub(crate) fn spawn(&self, command: &mut Command, mark: &str) -> Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = self.open_log().context(format_args!("cannot open {}", self.log().display()))?;
        let errors = log.try_clone().context("cannot share the log")?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        command.process_group(0).env(HOME_VARIABLE, self.path());
        let child = command.spawn().context(format_args!("cannot run {program}"))?;
        let pid = i32::try_from(child.id()).context("odd process number")?;
        Process::record(pid, mark).context(format_args!("{program} ended at once"))
    }

    /// The last lines of the log, to be shown when something failed.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Deletes what a run leaves, but for the log and what was downloaded.
    pub(crate) fn wipe(&self) -> Result<()> {
        for path in [self.data(), self.join(super::certificates::FOLDER), self.join("state")] {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(err).context(format_args!("cannot delete {}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.log())
    }
}

/// Replaces each `@NAME@` of a template.
pub(crate) fn render(template: &str, values: &[(&str, &str)]) -> String {
    let fill = |text: String, (name, value): &(&str, &str)| text.replace(&format!("@{name}@"), value);
    values.iter().fold(template.to_owned(), fill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_takes_every_value_everywhere() {
        assert_eq!(render("a=@A@ b=@B@ a=@A@", &[("A", "1"), ("B", "2")]), "a=1 b=2 a=1");
    }

    #[test]
    fn tail_of_a_missing_log_is_empty() {
        assert_eq!(Home::new("/nowhere".into()).tail(5), "");
    }

    #[test]
    fn tail_is_the_end_of_the_log() {
        let dir = std::env::temp_dir().join(format!("xtask-tail-{}", std::process::id()));
        let home = Home::new(dir.clone());
        home.create().unwrap();
        fs::write(home.log(), "1\n2\n3\n").unwrap();
        assert_eq!(home.tail(2), "2\n3");
        fs::remove_dir_all(dir).unwrap();
    }
}
