//! Shows that the cases can fail.

use std::collections::BTreeSet;

use libtest_mimic::Trial;

use super::faulty::Fault;
use super::harness::{Broker, Harness, Outcome};
use crate::memory::MemoryBinder;

/// Something that is wrong, and that cases must notice.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Wrong {
    /// The binder.
    Binder(Fault),
    /// This setting, such as `consumer.backoff`, is as good as not there.
    Ignores(&'static str),
}

impl Wrong {
    /// Does what is wrong to a harness.
    pub fn with(self, harness: Harness) -> Harness {
        match self {
            Self::Binder(fault) => harness.faulty(fault),
            Self::Ignores(setting) => harness.ignoring(setting),
        }
    }
}

/// Returns a test for everything that is wrong: each case beside it must pass without it and fail with it. The test is ignored if there is no broker.
pub fn seen_failing(harness: impl Fn() -> Harness, noticed: &'static [(Wrong, &'static [&'static str])]) -> Vec<Trial> {
    let trial = |(wrong, cases): &'static (Wrong, &'static [&'static str])| {
        let (right, broken) = (harness(), wrong.with(harness()));
        let is_there = right.is_available();
        let test = Trial::test(format!("{wrong:?} is noticed"), move || {
            // a case that fails without a fault too would show nothing
            if let Some((case, outcome)) =
                cases.iter().map(|case| (case, right.check(case))).find(|(_, outcome)| *outcome != Outcome::Passed)
            {
                return Err(format!("without a fault {case} is {outcome:?}").into());
            }
            let missed: Vec<_> =
                cases.iter().filter(|case| !matches!(broken.check(case), Outcome::Failed(_))).collect();
            if missed.is_empty() { Ok(()) } else { Err(format!("{wrong:?} passes {missed:?}").into()) }
        });
        test.with_ignored_flag(!is_there)
    };
    noticed.iter().map(trial).collect()
}

/// Returns a test of a binder's list of what its cases must notice: every case that applies to it and not to the memory binder, on which the
/// suite's own tests see the others fail, must be there.
pub fn none_is_missing(harness: &Harness, noticed: &'static [(Wrong, &'static [&'static str])]) -> Trial {
    let memory =
        Harness::new("memory", || Broker::new(MemoryBinder::new()).with_control(|_| Ok(())).with_network(|_| ()));
    let (here, is_there) = (harness.clone(), harness.is_available());
    let test = Trial::test("every case that memory leaves out can fail", move || {
        let seen: BTreeSet<_> = noticed.iter().flat_map(|(_, cases)| cases.iter().copied()).collect();
        let of_broker =
            |name: &&str| memory.ignored(name).is_some() && here.ignored(name).is_none() && !seen.contains(name);
        let unseen: Vec<_> = Harness::names().into_iter().filter(of_broker).collect();
        if unseen.is_empty() { Ok(()) } else { Err(format!("no fault breaks {unseen:?}").into()) }
    });
    test.with_ignored_flag(!is_there)
}
