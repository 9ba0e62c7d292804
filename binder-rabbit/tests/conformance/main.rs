//! The conformance suite on a real broker; `harness` says what it needs in the environment.

mod harness;

fn main() {
    harness::harness().main()
}
