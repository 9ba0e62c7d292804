//! Processes of servers: who they are, whether they live, and how they end.
//!
//! A process number alone proves nothing, the system hands it out again. A process is ours only if its start time is the
//! recorded one and its command line holds the recorded words. For a moment, while a program takes the place of another in
//! a process, the command line is empty; then the start time decides.

use std::{fs, io, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::signals;

/// The variable that every process of a server inherits; its value is the server's folder.
pub(crate) const HOME_VARIABLE: &str = "XTASK_BROKER_HOME";

/// One process that was started here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: i32,
    started: u64,
    mark: String,
}

impl Process {
    /// Records a running process by words that its command line holds.
    pub(crate) fn record(pid: i32, mark: impl Into<String>) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = parse_stat(&stat).map(|(_, started)| started);
        let started = started.ok_or_else(|| io::Error::other(format!("cannot read /proc/{pid}/stat")))?;
        Ok(Self { pid, started, mark: mark.into() })
    }

    /// The process number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether the process still runs, and is this one.
    pub(crate) fn alive(&self) -> bool {
        let words = command_line(self.pid);
        !self.ended() && (words.is_empty() || words.contains(&self.mark))
    }

    /// Whether the process has ended, whoever has its number now.
    fn ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        parse_stat(&stat).is_none_or(|(state, started)| state == 'Z' || started != self.started)
    }

    /// Sends a signal if the process is alive.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.alive() {
            let _ = kill(Pid::from_raw(self.pid), signal); // gone in between: as wanted
        }
    }

    /// Ends the process: politely for as long as `grace`, then by force. Says whether force was needed.
    pub(crate) fn end(&self, grace: Option<Duration>) -> bool {
        if let Some(grace) = grace {
            self.signal(Signal::SIGTERM);
            if signals::poll(grace, || !self.alive()) {
                return false;
            }
        }
        self.signal(Signal::SIGKILL);
        signals::poll(Duration::from_secs(5), || !self.alive());
        true
    }

    /// Memory in use, in MB.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib / 1024)
    }

    /// One line of a state file.
    pub(crate) fn to_line(&self) -> String {
        format!("{} {} {}", self.pid, self.started, self.mark)
    }

    /// Reads [`to_line`](Self::to_line) back.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (pid, started, mark) = (words.next()?, words.next()?, words.next()?);
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()?, mark: mark.into() })
    }
}

/// Every living process that a server in `home`, or in a folder of it, has left.
pub(crate) fn offspring(home: &Path) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        inherits(&environment, home)
    });
    ours.filter_map(|pid| Process::record(pid, "").ok()).filter(Process::alive).collect()
}

/// Whether an environment is that of a server in `home`.
fn inherits(environment: &[u8], home: &Path) -> bool {
    let mut pairs = environment.split(|byte| *byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok());
    let value = pairs.find_map(|pair| pair.strip_prefix(HOME_VARIABLE)?.strip_prefix('='));
    value.is_some_and(|value| Path::new(value).starts_with(home))
}

/// State and start time out of `/proc/<pid>/stat`; the name before them may hold spaces and brackets.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The words of a process, joined by spaces; empty when it is gone.
fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, i32) {
        let child = Command::new("sleep").arg("61.25").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(signals::poll(Duration::from_secs(5), || !command_line(pid).is_empty()));
        (child, pid)
    }

    #[test]
    fn stat_of_a_name_with_spaces_and_brackets() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(parse_stat(stat), Some(('S', 4711)));
    }

    #[test]
    fn stat_cut_short_is_nobody() {
        assert_eq!(parse_stat("7 (a) S 1"), None);
    }

    #[test]
    fn line_reads_back() {
        let process = Process { pid: 1, started: 2, mark: "epmd -port 3".into() };
        assert_eq!(Process::from_line(&process.to_line()), Some(process));
    }

    #[test]
    fn recorded_process_lives_until_it_is_ended() {
        let (mut child, pid) = sleeper();
        let process = Process::record(pid, "sleep 61.25").unwrap();
        assert!(process.alive());
        process.end(Some(Duration::from_secs(5)));
        assert!(!process.alive());
        child.wait().unwrap();
    }

    #[test]
    fn another_command_line_is_not_ours() {
        let (mut child, pid) = sleeper();
        let other = Process::record(pid, "redis-server").unwrap();
        assert!(!other.alive());
        other.signal(Signal::SIGKILL);
        assert!(child.try_wait().unwrap().is_none(), "a stranger was killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn another_start_time_is_not_ours() {
        let (mut child, pid) = sleeper();
        let mut process = Process::record(pid, "sleep").unwrap();
        process.started -= 1;
        assert!(!process.alive());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn environment_names_the_folder_or_one_below() {
        let home = Path::new("/x/kafka");
        assert!(inherits(b"A=1\0XTASK_BROKER_HOME=/x/kafka\0", home));
        assert!(inherits(b"XTASK_BROKER_HOME=/x/kafka/training", home));
        assert!(!inherits(b"XTASK_BROKER_HOME=/x/kafka2\0", home));
        assert!(!inherits(b"A=XTASK_BROKER_HOME=/x/kafka\0", home));
    }
}
