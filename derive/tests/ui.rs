//! What the macros accept, and what they say when they do not.
//!
//! The texts are those of one compiler; `TRYBUILD=overwrite cargo test -p binder-derive --test ui` writes them anew.

#[rustversion::attr(not(stable(1.95)), ignore = "compiler messages are pinned to stable 1.95")]
#[test]
fn every_rule_has_its_message() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
