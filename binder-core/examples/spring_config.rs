//! What a configuration of Spring becomes: `cargo run -p binder-core --example spring_config -- application.yml --profile prod`.
//!
//! `--guide` prints the page of the guide that lists all properties.

use std::process::ExitCode;

use binder_core::config::{Config, spring_guide};

const USAGE: &str = "usage: spring_config FILE [--profile NAME]... | --guide";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let told = match &arguments[..] {
        [guide] if guide == "--guide" => Ok(spring_guide()),
        _ => described(&arguments),
    };
    match told {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn described(arguments: &[String]) -> Result<String, String> {
    let [file, options @ ..] = arguments else { return Err(USAGE.to_owned()) };
    let mut builder = Config::builder().env_from_process().spring(file);
    for option in options.chunks(2) {
        let [name, profile] = option else { return Err(USAGE.to_owned()) };
        if name != "--profile" {
            return Err(USAGE.to_owned());
        }
        builder = builder.profile(profile);
    }
    let config = builder.build().map_err(|error| error.message().to_owned())?;
    let mut text = config.describe();
    if !config.spring_notes().is_empty() {
        text.push_str("\n# Told besides:\n");
    }
    config.spring_notes().iter().for_each(|note| text.push_str(&format!("# {note}\n")));
    Ok(text)
}
