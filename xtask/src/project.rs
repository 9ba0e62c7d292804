//! Where things are, and how cargo is called.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{Context, Result};

/// The checkout this program was built from, and the program itself.
#[derive(Debug)]
pub(crate) struct Project {
    root: PathBuf,
    exe: PathBuf,
}

impl Project {
    /// Finds both. To be called at the start: a later build replaces the program's file.
    pub(crate) fn locate() -> Result<Self> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.parent().unwrap_or(package).to_path_buf();
        let exe = env::current_exe().context("cannot find the path of this program")?;
        Ok(Self { root, exe })
    }

    /// The path of this program, for others to call.
    pub(crate) fn exe(&self) -> &Path {
        &self.exe
    }

    /// Where servers keep what is theirs.
    pub(crate) fn brokers(&self) -> PathBuf {
        self.root.join("target/brokers")
    }

    /// A file for what is of use during one call.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.root.join("target").join(name)
    }

    /// A page of the guide.
    pub(crate) fn guide(&self, page: &str) -> PathBuf {
        self.root.join("docs/src").join(page)
    }

    /// What the cases of the benchmark may cost.
    pub(crate) fn baseline(&self) -> PathBuf {
        self.root.join("benches/baseline.json")
    }

    /// A path as a person wants to read it: relative to the checkout.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// A call of cargo at the root, without the variables that `cargo run` set for this program.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }
}
