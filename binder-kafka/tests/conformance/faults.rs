//! The cases of the conformance suite that memory has no use for, each seen failing on a real broker: of a binder with a known fault before the
//! right one, or of a setting that is ignored.

mod harness;

use binder_core::testkit::suite::{Fault, Wrong, none_is_missing, seen_failing};
use libtest_mimic::Arguments;

use harness::harness;

/// Which cases must fail of what is wrong.
const NOTICED: &[(Wrong, &[&str])] = &[
    (
        Wrong::Binder(Fault::ConfirmsEarly),
        &[
            "faults::a_batch_names_what_was_refused",
            "faults::one_refused_message_fails_alone",
            "faults::too_large_is_an_error_at_once",
        ],
    ),
    (Wrong::Binder(Fault::StopsPolling), &["membership::slow_handler_stays_a_member"]),
];

fn main() {
    // the cases fail by design: what they print would hide what this test prints
    std::panic::set_hook(Box::new(|_| {}));
    let mut trials = seen_failing(harness, NOTICED);
    trials.push(none_is_missing(&harness(), NOTICED));
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}
