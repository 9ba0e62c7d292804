//! Cases against a real broker, named by `KAFKA_URL`.

#![allow(clippy::unwrap_used, reason = "a test")]

mod embedded;
mod faults;
mod groups;
mod handling;
mod members;
mod rebalance;
mod redrive;
mod secure;
mod seeking;
#[path = "../support/mod.rs"]
mod support;
mod transactional;
mod transactions;
mod wire;

fn main() {
    if let Ok(name) = std::env::var(transactional::CHILD) {
        return transactional::run_child(&name);
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let ready = support::url().is_some();
    let mut cases = wire::cases(ready);
    cases.extend(embedded::cases(ready));
    cases.extend(groups::cases(ready));
    cases.extend(rebalance::cases(ready));
    cases.extend(faults::cases(ready));
    cases.extend(secure::cases(ready));
    cases.extend(redrive::cases(ready));
    cases.extend(members::cases(ready));
    cases.extend(handling::cases(ready));
    cases.extend(seeking::cases(ready));
    cases.extend(transactions::cases(ready));
    cases.extend(transactional::cases(ready));
    libtest_mimic::run(&arguments, cases).exit();
}
