//! Writes tables and charts of all results, or checks that they are there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::charts::{bars, draw, name};
use super::plan::Part;
use super::protocol::Broker;
use super::results::{Results, home, path};
use super::tables::{Field, charted, title};

const BEGIN: &str = "<!-- field:begin -->";
const END: &str = "<!-- field:end -->";

/// Renders; with `--check` it only compares.
pub fn main(words: &[&str]) -> ExitCode {
    let check = match words {
        [] => false,
        ["--check"] => true,
        _ => {
            eprintln!("benches render: there is nothing but --check");
            return ExitCode::from(2);
        }
    };
    let done = rendered(&home()).and_then(|files| {
        files.into_iter().try_for_each(|(path, text)| if check { compare(&path, &text) } else { write(&path, &text) })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("benches render: {cause}");
            ExitCode::FAILURE
        }
    }
}

/// All files, with what should be in them.
fn rendered(home: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = Vec::new();
    let mut tables = Vec::new();
    for broker in [Broker::Memory, Broker::Rabbit, Broker::Kafka] {
        let mut text = String::new();
        for part in Part::ALL {
            let path = path(home, broker, part);
            if !path.exists() {
                continue;
            }
            let results = Results::read(&path)?;
            let field = Field(&results);
            text.push('\n');
            text.push_str(&field.tables());
            let charted = charted(&field);
            if !charted.is_empty() {
                text.push('\n');
            }
            for group in charted {
                let (title, bars) = bars(&field, &group);
                let name = name(&field, &group);
                text.push_str(&format!("![{title}](results/{name})\n"));
                files.push((home.join("results").join(name), draw(&title, &bars)?));
            }
        }
        if !text.is_empty() {
            tables.push(format!("### {}\n{text}", title(broker)));
        }
    }
    let readme = home.join("README.md");
    let text = read(&readme)?;
    let text =
        put(&text, &tables.join("\n")).ok_or_else(|| format!("{} has no {BEGIN} and {END}", readme.display()))?;
    files.push((readme, text));
    Ok(files)
}

/// Replaces what is between the marks.
fn put(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let tables = if tables.is_empty() { String::new() } else { format!("{tables}\n") };
    Some(format!("{before}{BEGIN}\n\n{tables}{END}{after}"))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|cause| format!("cannot read {}: {cause}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|cause| format!("cannot write {}: {cause}", path.display()))
}

fn compare(path: &Path, text: &str) -> Result<(), String> {
    if read(path)? == text {
        return Ok(());
    }
    Err(format!("{} is not what the results say: run `benches render`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::tables::tests::measured;

    /// A folder of its own, with a readme and results.
    fn folder(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("benches-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&home).expect("a folder");
        write(&home.join("README.md"), &format!("before\n{BEGIN}old{END}\nafter\n")).expect("written");
        let results = measured();
        results.write(&path(&home, Broker::Kafka, results.part)).expect("written");
        home
    }

    fn check(home: &Path) -> Result<(), String> {
        rendered(home)?.into_iter().try_for_each(|(path, text)| compare(&path, &text))
    }

    #[test]
    fn what_was_rendered_passes_the_check_and_what_was_changed_does_not() {
        let home = folder("render");
        assert!(check(&home).is_err());
        for (path, text) in rendered(&home).expect("it can be") {
            write(&path, &text).expect("written");
        }
        assert_eq!(check(&home), Ok(()));
        let readme = read(&home.join("README.md")).expect("there");
        assert!(readme.starts_with("before\n<!-- field:begin -->\n\n### Kafka\n\nThroughput, "), "{readme}");
        assert!(readme.ends_with("(results/kafka-publish.svg)\n\n<!-- field:end -->\nafter\n"), "{readme}");
        write(&home.join("README.md"), &readme.replace("1000 (500–2000)", "9999 (500–2000)")).expect("written");
        assert!(check(&home).is_err_and(|error| error.contains("README.md is not what the results say")));
        std::fs::remove_dir_all(&home).expect("removed");
    }

    #[test]
    fn without_marks_nothing_is_put_anywhere() {
        assert_eq!(put("text", "tables"), None);
        assert_eq!(put(&format!("{BEGIN}x{END}"), ""), Some(format!("{BEGIN}\n\n{END}")));
    }
}
