//! What is known of a server between two calls of this program: one small text file in its folder.

use std::{fs, io, path::Path};

use super::{ports::Ports, process::Process};

/// The ports a server was given, and its processes while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) ports: Ports,
    pub(crate) processes: Vec<Process>,
}

impl State {
    /// Reads the state in a server's folder; none before its first start and after `down`.
    pub(crate) fn load(home: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(home.join("state")).ok()?)
    }

    /// Writes the state in one step.
    pub(crate) fn save(&self, home: &Path) -> io::Result<()> {
        let draft = home.join("state.new");
        fs::write(&draft, self.render())?;
        fs::rename(draft, home.join("state"))
    }

    /// Whether all processes of the server run.
    pub(crate) fn running(&self) -> bool {
        !self.processes.is_empty() && self.processes.iter().all(Process::alive)
    }

    fn render(&self) -> String {
        let ports = self.ports.iter().map(|(purpose, port)| format!("port {purpose} {port}\n"));
        let processes = self.processes.iter().map(|process| format!("process {}\n", process.to_line()));
        ports.chain(processes).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut state = Self::default();
        for line in text.lines() {
            match line.split_once(' ')? {
                ("port", rest) => {
                    let (purpose, port) = rest.split_once(' ')?;
                    state.ports.insert(purpose.into(), port.parse().ok()?);
                }
                ("process", rest) => state.processes.push(Process::from_line(rest)?),
                _ => return None,
            }
        }
        Some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back() {
        let text = "port client 9092\nport controller 9093\nprocess 12 345 kafka.Kafka /x y/server.properties\n";
        let state = State::parse(text).unwrap();
        assert_eq!(state.ports["controller"], 9093);
        assert_eq!(state.render(), text);
    }

    #[test]
    fn damaged_text_is_no_state() {
        assert_eq!(State::parse("port client many\n"), None);
    }

    #[test]
    fn nothing_started_is_not_running() {
        assert!(!State::default().running());
    }
}
