//! Programs that run in the foreground: cargo, the demo, Maven, apt-get.
//!
//! Each is the leader of a process group of its own, so that nothing of it outlives the command.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{
    error::{Context, Failure, Result},
    signals,
};

/// Time for a program to end after it was told to.
const GRACE: Duration = Duration::from_secs(15);

/// Runs a program to its end, or stops it when a signal comes.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus> {
    signals::check()?;
    let program = command.get_program().to_string_lossy().into_owned();
    let spawned = command.stdin(Stdio::null()).process_group(0).spawn();
    let mut child = spawned.context(format_args!("cannot run {program}"))?;
    loop {
        if let Some(status) = child.try_wait().context(format_args!("cannot wait for {program}"))? {
            signal(&child, Signal::SIGKILL);
            return Ok(status);
        }
        if signals::interrupted() {
            stop(&mut child).context(format_args!("cannot stop {program}"))?;
            return Err(Failure::interrupted());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program whose failure is a failure of the command.
pub(crate) fn run_ok(command: &mut Command, what: &str) -> Result<()> {
    let status = run(command)?;
    if status.success() { Ok(()) } else { Err(Failure::failed(format!("{what} failed ({status})"))) }
}

/// The code to exit with after a program: its own, or 128 + signal as a shell has it.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Sends the program's standard output where its errors go, to keep ours for `export` lines.
pub(crate) fn quiet_stdout(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::from(io::stderr()))
}

fn stop(child: &mut Child) -> io::Result<()> {
    signal(child, Signal::SIGTERM);
    let ended = signals::poll(GRACE, || !matches!(child.try_wait(), Ok(None)));
    signal(child, Signal::SIGKILL);
    if ended { Ok(()) } else { child.wait().map(drop) }
}

/// Signals the whole group. An empty group is no error: everybody has left.
fn signal(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_is_the_programs_own() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
    }

    #[test]
    fn exit_code_of_a_killed_program_is_that_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn nothing_of_a_program_outlives_it() {
        let dir = std::env::temp_dir().join(format!("xtask-run-{}", std::process::id()));
        let script = format!("sleep 60 & echo $! > {}", dir.display());
        run_ok(Command::new("sh").args(["-c", &script]), "sh").unwrap();
        let pid = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z"));
        assert!(signals::poll(Duration::from_secs(5), gone));
    }
}
