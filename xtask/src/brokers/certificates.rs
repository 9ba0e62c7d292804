//! Certificates for the servers' TLS listeners, and wrong ones for tests, made by the program `openssl`.
//!
//! | file | what it is |
//! |---|---|
//! | `ca.pem` | the authority that signed what the servers show and what they accept of clients |
//! | `other-ca.pem` | an authority that signed nothing of that |
//! | `server.pem`, `server.key` | for `localhost`, not for its address |
//! | `expired.pem`, `expired.key` | for `localhost`, of the year 2020 |
//! | `client.pem`, `client.key` | a client that the servers accept |
//! | `stranger.pem`, `stranger.key` | a client signed by `other-ca.pem` |
//!
//! `server.store` and `expired.store` are the key and the certificate in one file, as Kafka wants them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    home::Home,
    packages::{self, Need},
};
use crate::error::{Context, Failure, Result};

/// The folder of a server's certificates; they live as long as its data.
pub(crate) const FOLDER: &str = "certificates";

const CONFIG: &str = include_str!("../../templates/openssl.cnf");
const VALID: [&str; 2] = ["-days", "3650"];
const EXPIRED: [&str; 4] = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"];

/// What must be installed to make them.
pub(crate) fn need() -> Need {
    Need { what: "openssl", package: "openssl", present: || packages::program("openssl").is_some() }
}

/// Makes the certificates of a server unless they are there.
pub(crate) fn make(home: &Home) -> Result<PathBuf> {
    let folder = home.join(FOLDER);
    if folder.join("server.store").exists() {
        return Ok(folder);
    }
    let maker = Maker { folder: folder.clone() };
    maker.prepare().context(format_args!("cannot write to {}", folder.display()))?;
    maker.authority("ca")?;
    maker.authority("other-ca")?;
    maker.certificate("client", "ca", &VALID)?;
    maker.certificate("stranger", "other-ca", &VALID)?;
    maker.certificate("expired", "ca", &EXPIRED)?;
    maker.certificate("server", "ca", &VALID)?;
    maker.store("expired").and_then(|()| maker.store("server")).context("cannot write a key store")?;
    Ok(folder)
}

struct Maker {
    folder: PathBuf,
}

impl Maker {
    fn prepare(&self) -> std::io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join("openssl.cnf"), CONFIG)?;
        fs::write(self.folder.join("index.txt"), "")
    }

    fn authority(&self, name: &str) -> Result<()> {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN=xtask {name}");
        self.openssl(&["req", "-x509", "-days", "3650", "-subj", &subject, "-keyout", &key, "-out", &certificate])
    }

    fn certificate(&self, name: &str, authority: &str, time: &[&str]) -> Result<()> {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        self.openssl(&["req", "-new", "-subj", &subject, "-keyout", &key, "-out", &request])?;
        let (by, with) = (format!("{authority}.pem"), format!("{authority}.key"));
        let sign = ["ca", "-batch", "-notext", "-cert", &by, "-keyfile", &with, "-in", &request, "-out", &certificate];
        self.openssl(&[&sign, time].concat())
    }

    fn store(&self, name: &str) -> std::io::Result<()> {
        let [key, certificate] = ["key", "pem"].map(|kind| fs::read_to_string(self.file(name, kind)));
        fs::write(self.file(name, "store"), key? + &certificate?)
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.join(Path::new(name).with_extension(kind))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("openssl");
        command.args(arguments).args(["-config", "openssl.cnf"]).current_dir(&self.folder);
        let output = command.output().context("cannot run openssl")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Failure::failed(format!("openssl {} failed", arguments.join(" "))).with_note(&said))
    }
}
