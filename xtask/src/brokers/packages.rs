//! Programs that must be on the machine, the Debian packages they are in, and their installation.

use std::{env, ffi::OsStr, path::PathBuf, process::Command};

use crate::{
    error::{Failure, Result},
    run,
};

/// Something a command needs on the machine.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    /// What it is, as a person calls it.
    pub(crate) what: &'static str,
    /// The Debian package it is in.
    pub(crate) package: &'static str,
    /// Looks whether it is there.
    pub(crate) present: fn() -> bool,
}

/// What compiling the Kafka client's C library takes beyond that with the feature `tls`.
pub(crate) const TLS: [Need; 2] = [
    Need { what: "pkg-config", package: "pkg-config", present: || any(&["pkg-config", "pkgconf"]) },
    Need { what: "OpenSSL's headers", package: "libssl-dev", present: || header("openssl/ssl.h") },
];

/// What compiling the Kafka client's C library takes.
pub(crate) const BUILD: [Need; 3] = [
    Need { what: "make", package: "make", present: || any(&["make"]) },
    Need { what: "a C compiler", package: "gcc", present: || any(&["cc", "gcc", "clang"]) },
    Need { what: "a C++ compiler", package: "g++", present: || any(&["c++", "g++", "clang++"]) },
];

/// What counting instructions takes.
pub(crate) const COUNTING: [Need; 1] = [Need { what: "valgrind", package: "valgrind", present: || any(&["valgrind"]) }];

/// Checks that everything is there; installs what is missing if told to.
pub(crate) fn ensure(needs: &[Need], install: bool) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    if !install {
        let hint = "or let this command do it: add --install";
        return Err(Failure::setup(describe(&missing, root())).with_note(hint));
    }
    for words in commands(&missing, root()) {
        eprintln!("+ {}", words.join(" "));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("DEBIAN_FRONTEND", "noninteractive");
        run::run_ok(run::quiet_stdout(&mut command), &words.join(" "))
            .map_err(|failure| Failure::setup(failure.to_string()).with_note(&describe(&missing, root())))?;
    }
    let left: Vec<_> = missing.into_iter().filter(|need| !(need.present)()).collect();
    if left.is_empty() { Ok(()) } else { Err(Failure::setup(describe(&left, root()))) }
}

/// The file of a program on the search path.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    find(name, &env::var_os("PATH")?)
}

/// Whether C code can include a header: from the usual folder, or from that of the machine's architecture.
fn header(name: &str) -> bool {
    let below = std::fs::read_dir("/usr/include").into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(PathBuf::from("/usr/include")).chain(below).any(|folder| folder.join(name).is_file())
}

fn any(names: &[&str]) -> bool {
    names.iter().any(|name| program(name).is_some())
}

fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn missing(needs: &[Need]) -> Vec<Need> {
    let mut missing: Vec<Need> = needs.iter().filter(|need| !(need.present)()).cloned().collect();
    missing.sort_by_key(|need| need.package);
    missing.dedup_by_key(|need| need.package);
    missing
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The commands that install packages, as lists of words.
fn commands(missing: &[Need], root: bool) -> [Vec<String>; 2] {
    let sudo = if root { "" } else { "sudo " };
    let packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    let update = format!("{sudo}apt-get update -qq");
    let install = format!("{sudo}apt-get install -qq -y --no-install-recommends {}", packages.join(" "));
    [update, install].map(|line| line.split(' ').map(str::to_owned).collect())
}

/// What is missing, and the commands to type.
fn describe(missing: &[Need], root: bool) -> String {
    let names: Vec<_> = missing.iter().map(|need| need.what).collect();
    let [update, install] = commands(missing, root).map(|words| words.join(" "));
    format!("missing: {}\ninstall with: {update} && {install}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Need = Need { what: "here", package: "p-here", present: || true };
    const REDIS: Need = Need { what: "redis-server", package: "redis-server", present: || false };
    const MAVEN: Need = Need { what: "Maven", package: "maven", present: || false };

    #[test]
    fn present_programs_are_not_missing() {
        assert!(missing(&[HERE]).is_empty());
    }

    #[test]
    fn package_needed_twice_is_named_once() {
        assert_eq!(missing(&[REDIS, HERE, REDIS]).len(), 1);
    }

    #[test]
    fn message_names_what_is_missing_and_the_command() {
        let text = describe(&[MAVEN, REDIS], true);
        assert_eq!(
            text,
            "missing: Maven, redis-server\ninstall with: apt-get update -qq && \
             apt-get install -qq -y --no-install-recommends maven redis-server"
        );
    }

    #[test]
    fn user_who_is_not_root_needs_sudo() {
        assert!(describe(&[REDIS], false).contains("sudo apt-get install"));
    }

    #[test]
    fn missing_program_is_a_setup_failure() {
        assert_eq!(ensure(&[REDIS], false).unwrap_err().code(), 2);
    }

    #[test]
    fn header_that_is_nowhere_is_missing() {
        assert!(!header("no/such/header.h"));
    }

    #[test]
    fn program_is_found_on_the_path_given() {
        assert_eq!(find("sh", OsStr::new("/nowhere:/bin")), Some("/bin/sh".into()));
        assert_eq!(find("sh", OsStr::new("/nowhere")), None);
    }
}
