//! What the guide says of tests is true.

use std::{collections::BTreeSet, fs};

use crate::project::Project;

/// The tests that a page names: a file with names behind it, or cases of the conformance suite.
fn named(page: &str) -> Vec<(Option<String>, String)> {
    let mut tests = Vec::new();
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let column = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let mut file = None;
        for text in column.split('`').skip(1).step_by(2) {
            match text.split_once("::") {
                Some(_) => tests.push((None, text.to_owned())),
                None if text.ends_with(".rs") => file = Some(text.to_owned()),
                None => tests.push((file.clone(), text.to_owned())),
            }
        }
    }
    tests
}

#[test]
fn every_trap_has_a_test() {
    let project = Project::locate().expect("the project");
    let page = fs::read_to_string(project.guide("traps.md")).expect("the page");
    let cases = fs::read_to_string(project.guide("conformance.md")).expect("the page");
    let tests = named(&page);
    let rows = page.lines().filter(|line| line.starts_with("| ")).count() - 1;
    assert!(rows > 20 && tests.len() >= rows, "{rows} rows, {} tests", tests.len());
    let mut missing = BTreeSet::new();
    for (file, test) in tests {
        let found = match (&file, test.split_once("::")) {
            (None, Some((_, case))) => cases.contains(&format!("| `{case}` |")),
            (Some(file), _) => {
                let text = fs::read_to_string(project.guide(&format!("../../{file}"))).unwrap_or_default();
                text.contains(&format!("fn {test}(")) || text.contains(&format!("\"{test}\""))
            }
            (None, None) => false,
        };
        if !found {
            missing.insert(format!("{}{test}", file.map_or(String::new(), |file| file + ": ")));
        }
    }
    assert!(missing.is_empty(), "the page names tests that do not exist: {missing:?}");
}
