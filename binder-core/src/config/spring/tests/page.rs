//! The page of the guide is that of the table.

use super::super::spring_guide;

#[test]
fn the_guide_is_in_step() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/spring-config.md");
    let page = std::fs::read_to_string(page).unwrap_or_default();
    assert!(
        page == spring_guide(),
        "docs/src/spring-config.md is out of date: `cargo xtask spring-config --guide` writes it"
    );
}
