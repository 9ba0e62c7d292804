//! What the configuration promises, rule by rule.

mod binders;
mod describe;
mod environment;
mod files;
mod mistakes;
mod resolved;
mod values;

use super::{Config, ConfigBuilder, Declared, Resolved};
use crate::ErrorKind;
use crate::binding::Direction::{self, Input, Output};

/// Declares `orders` as an input and `invoices` as an output, with every type of binder registered.
fn declared() -> Declared {
    channels(&[("orders", Input), ("invoices", Output)])
}

fn channels(channels: &[(&str, Direction)]) -> Declared {
    Declared {
        channels: channels.iter().map(|(name, direction)| ((*name).to_owned(), *direction)).collect(),
        binder_types: ["memory", "kafka", "rabbit"].map(str::to_owned).to_vec(),
    }
}

fn yaml(text: &str) -> ConfigBuilder {
    Config::builder().yaml(text)
}

/// Variables that begin with `STREAM__`, from names without it.
fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (format!("STREAM__{name}"), (*value).to_owned())).collect()
}

fn resolved(builder: ConfigBuilder) -> Resolved {
    builder.build().unwrap().resolve(&declared()).unwrap()
}

/// What is wrong, at the first of the three points where it may be told.
fn refused(builder: ConfigBuilder) -> String {
    refused_for(builder, &declared())
}

fn refused_for(builder: ConfigBuilder, declared: &Declared) -> String {
    let told = builder.build().and_then(|config| {
        config.resolve(declared)?;
        config.check_undeclared(declared)
    });
    let error = told.expect_err("it is wrong");
    assert_eq!(error.kind(), ErrorKind::Config);
    error.message().to_owned()
}
