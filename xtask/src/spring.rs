//! `cargo xtask spring-config`: what a configuration of Spring becomes, and the page of the guide about it.

use std::{
    fs,
    path::{Path, absolute},
    process::Stdio,
};

use crate::{
    error::{Context, Failure, Result},
    project::Project,
};

/// Runs `cargo xtask spring-config`.
pub(crate) fn main(project: &Project, file: Option<&Path>, profiles: &[String], guide: bool) -> Result<()> {
    match file {
        _ if guide => write_guide(project),
        Some(file) => {
            let file = absolute(file).context("cannot find the working directory")?;
            let file = project.shown(&file).to_string();
            let profiles = profiles.iter().flat_map(|profile| ["--profile", profile]);
            let arguments: Vec<&str> = [file.as_str()].into_iter().chain(profiles).collect();
            print!("{}", output(project, &arguments)?);
            Ok(())
        }
        None => Err(Failure::setup("name a file, such as application.yml")),
    }
}

fn write_guide(project: &Project) -> Result<()> {
    let text = output(project, &["--guide"])?;
    let path = project.guide("spring-config.md");
    fs::write(&path, text).context(format_args!("cannot write {}", path.display()))?;
    eprintln!("== {} written", project.shown(&path));
    Ok(())
}

/// What the example of the core says; it has said itself what is wrong.
fn output(project: &Project, arguments: &[&str]) -> Result<String> {
    let mut command = project.cargo();
    command
        .args(["run", "--quiet", "--package", "binder-core", "--example", "spring_config", "--"])
        .args(arguments)
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        return Err(Failure::failed("the configuration is refused"));
    }
    String::from_utf8(output.stdout).context("what was printed is not UTF-8")
}
