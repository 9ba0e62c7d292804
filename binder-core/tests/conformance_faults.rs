//! The cases of the conformance suite, each seen failing: a binder with a known fault, or one that ignores a setting, must be noticed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use binder_core::memory::MemoryBinder;
use binder_core::testkit::suite::{Broker, Fault, FaultyBinder, Harness, Outcome, Unsteady, Wrong, seen_failing};
use libtest_mimic::{Arguments, Trial};

fn harness() -> Harness {
    let broker = || {
        let memory = Unsteady::new(MemoryBinder::new());
        let (switch, network) = (memory.clone(), memory.clone());
        Broker::new(memory).with_control(move |verb| switch.set(verb)).with_network(move |state| network.disturb(state))
    };
    Harness::new("memory", broker).paused_clock()
}

/// Which cases must fail of what is wrong.
const NOTICED: &[(Wrong, &[&str])] = &[
    (
        Wrong::Binder(Fault::SettlesOnReceipt),
        &[
            "lives::continue_after_errors",
            "lives::message_ctx",
            "lives::subscribe_ctx",
            "settlement::kill_in_a_handler_loses_nothing",
            "settlement::kill_of_a_busy_member_leaves_the_rest_to_others",
            "settlement::settling_one_settles_no_other",
            "settlement::shutdown_in_a_backoff_never_dead_letters",
            "membership::members_come_and_go_under_load",
            "faults::restart_in_a_handler_loses_nothing",
            "load::at_least_once_while_members_die",
        ],
    ),
    (
        Wrong::Binder(Fault::SettlesAll),
        &[
            "contract::closing_a_consumer_leaves_what_is_unsettled",
            "settlement::settling_one_settles_no_other",
            "settlement::what_is_unfinished_holds_back_what_is_behind_it",
        ],
    ),
    (
        Wrong::Binder(Fault::SettlesOnClose),
        &[
            "errors::stopped_when_exhausted",
            "settlement::shutdown_leaves_the_unfinished_and_never_dead_letters",
            "load::at_least_once_while_members_die",
        ],
    ),
    (
        Wrong::Binder(Fault::NeverSettles),
        &[
            "lives::twenty_lives_of_a_service",
            "errors::discarded_when_exhausted",
            "settlement::a_stopped_input_starts_again_where_it_was",
            "settlement::pulled_and_dropped_comes_again",
            "settlement::shutdown_waits_for_a_running_handler",
            "settlement::what_is_settled_does_not_come_again",
        ],
    ),
    (
        Wrong::Binder(Fault::SwapsMessages),
        &[
            "basics::no_ack",
            "basics::publish_subscribe",
            "contract::receipts_come_for_all_and_the_window_bounds",
            "errors::a_panic_is_a_failure",
            "errors::anonymous_discards_and_moves_on",
            "membership::one_stuck_message_stops_its_partition",
            "membership::order_of_keys_over_a_rebalance",
            "faults::a_send_waits_for_the_broker",
            "transactions::a_transaction_is_published_whole",
            "network::a_cut_loses_nothing",
            "network::a_delay_costs_time_only",
            "network::a_slow_reader_gets_all",
            "load::many_in_order",
        ],
    ),
    (
        Wrong::Binder(Fault::LosesEndOfBatch),
        &[
            "basics::resend_on_error",
            "lives::concurrent_close",
            "lives::continue_after_subscriber_close",
            "load::window_of_one_still_sends_all",
        ],
    ),
    (
        Wrong::Binder(Fault::LosesOnReconnect),
        &[
            "basics::concurrent_subscribe",
            "faults::reconnect",
            "network::a_cut_loses_nothing",
            "network::a_black_hole_is_noticed_and_loses_nothing",
            "network::half_open_to_the_broker_loses_nothing",
            "network::half_open_from_the_broker_loses_nothing",
            "load::lossy_parallel",
        ],
    ),
    (Wrong::Binder(Fault::LosesOnCancel), &["contract::a_dropped_receive_loses_nothing"]),
    (
        Wrong::Binder(Fault::DeliversTwice),
        &["basics::resend_on_error", "contract::required_group_gets_what_was_sent_before_it"],
    ),
    (
        Wrong::Binder(Fault::DeliversForever),
        &["basics::resend_on_error", "contract::required_group_gets_what_was_sent_before_it"],
    ),
    (
        Wrong::Binder(Fault::IgnoresMax),
        &["contract::a_batch_is_at_most_as_large_as_asked", "load::prefetch_bounds_what_is_unsettled"],
    ),
    (Wrong::Binder(Fault::IgnoresPause), &["membership::pause_takes_nothing"]),
    (Wrong::Binder(Fault::HoldsNoLanes), &["membership::one_stuck_message_takes_no_room_of_other_partitions"]),
    (
        Wrong::Binder(Fault::HoldsForEver),
        &["membership::one_stuck_message_takes_no_room_of_other_partitions", "load::saturated_unacked"],
    ),
    (Wrong::Binder(Fault::IgnoresResume), &["membership::pause_keeps_its_place_in_the_group"]),
    (Wrong::Binder(Fault::StopsPolling), &["membership::one_stuck_message_takes_no_room_of_other_partitions"]),
    (Wrong::Binder(Fault::TokensGoBack), &["contract::tokens_grow_within_a_lane"]),
    (Wrong::Binder(Fault::FailsOnUnknownLane), &["contract::settling_what_is_no_more_is_ignored"]),
    (
        Wrong::Binder(Fault::StaysDeaf),
        &[
            "faults::every_consumer_is_there_after_a_restart",
            "faults::restart_keeps_the_order_of_keys",
            "network::a_cut_loses_nothing",
            "network::a_black_hole_is_noticed_and_loses_nothing",
            "network::half_open_to_the_broker_loses_nothing",
            "network::half_open_from_the_broker_loses_nothing",
        ],
    ),
    (
        Wrong::Binder(Fault::StopsOnOutage),
        &[
            "load::lossy_parallel_through_reconnect",
            "faults::restart_keeps_the_order_of_keys",
            "faults::health_tells_the_outage",
        ],
    ),
    (
        Wrong::Binder(Fault::HidesOutage),
        &["faults::health_tells_the_outage", "network::a_black_hole_is_noticed_and_loses_nothing"],
    ),
    (Wrong::Binder(Fault::NeedsBrokerAtStart), &["faults::start_without_broker_and_work_when_it_comes"]),
    (
        Wrong::Binder(Fault::AltersDeadLetters),
        &[
            "errors::dead_letter_is_the_original_with_reason_and_origin",
            "errors::dead_letter_of_bytes_that_are_no_text",
            "errors::undecodable_goes_to_the_dead_letters_and_the_lane_moves_on",
        ],
    ),
    (Wrong::Binder(Fault::StripsDeadLetters), &["errors::dead_letter_is_the_original_with_reason_and_origin"]),
    (Wrong::Binder(Fault::HidesReason), &["errors::dead_letter_is_the_original_with_reason_and_origin"]),
    (
        Wrong::Binder(Fault::LosesDeadLetters),
        &[
            "errors::batch_names_the_items_that_failed",
            "errors::dead_letters_belong_to_the_group_that_failed",
            "errors::one_attempt_is_one",
            "errors::only_a_transient_error_is_tried_again",
            "settlement::pulled_and_rejected_is_tried_again",
            "faults::dead_letters_survive_a_restart",
        ],
    ),
    (
        Wrong::Binder(Fault::DoublesDeadLetters),
        &["errors::dead_letters_keep_their_order", "errors::retry_count_is_exact"],
    ),
    (Wrong::Binder(Fault::RefusesDeadLetters), &["errors::one_attempt_is_one"]),
    (
        Wrong::Binder(Fault::DeadLettersOnClose),
        &[
            "lives::continue_after_errors",
            "settlement::shutdown_in_a_backoff_never_dead_letters",
            "settlement::shutdown_leaves_the_unfinished_and_never_dead_letters",
        ],
    ),
    (Wrong::Binder(Fault::TextHeaders), &["roundtrip::header_types"]),
    (Wrong::Binder(Fault::LosesHeaders), &["roundtrip::header_texts", "roundtrip::many_headers"]),
    (Wrong::Binder(Fault::OneHeaderOfAName), &["roundtrip::duplicate_headers"]),
    (Wrong::Binder(Fault::InventsHeaders), &["roundtrip::missing_header_is_none"]),
    (Wrong::Binder(Fault::LosesKeys), &["roundtrip::text_key", "membership::one_stuck_key_stops_only_itself"]),
    (Wrong::Binder(Fault::TextKeys), &["roundtrip::binary_key", "errors::dead_letter_of_bytes_that_are_no_text"]),
    (Wrong::Binder(Fault::LosesContentType), &["roundtrip::content_type_of_each_message"]),
    (Wrong::Binder(Fault::EmptyIsTombstone), &["roundtrip::empty_payload_is_no_tombstone"]),
    (Wrong::Binder(Fault::TombstoneIsEmpty), &["roundtrip::tombstone"]),
    (Wrong::Binder(Fault::CutsPayloads), &["roundtrip::large_payload"]),
    (Wrong::Binder(Fault::TextPayloads), &["roundtrip::bytes_of_all_values"]),
    (Wrong::Binder(Fault::IgnoresHeaderMode), &["roundtrip::header_mode_none"]),
    (Wrong::Binder(Fault::AnonymousAtEarliest), &["contract::anonymous_group_starts_at_the_latest"]),
    (Wrong::Binder(Fault::NamedAtLatest), &["basics::new_subscriber_receives_old_messages"]),
    (
        Wrong::Binder(Fault::ForgetsRequiredGroups),
        &[
            "contract::required_group_gets_what_was_sent_before_it",
            "contract::two_required_groups_get_what_was_sent_before_them",
        ],
    ),
    (
        Wrong::Binder(Fault::KeepsAnonymous),
        &["contract::anonymous_consumers_each_get_all", "contract::anonymous_group_ends_with_its_consumer"],
    ),
    (Wrong::Binder(Fault::OneGroup), &["basics::consumer_groups"]),
    (Wrong::Binder(Fault::GroupOfEachConsumer), &["contract::named_group_competes"]),
    (Wrong::Binder(Fault::OneDestination), &["contract::several_destinations_on_one_input"]),
    (Wrong::Binder(Fault::MixesDestinations), &["basics::concurrent_subscribe_multiple_topics", "basics::topic"]),
    (
        Wrong::Binder(Fault::ScattersKeys),
        &["basics::publish_subscribe_in_order", "contract::key_stays_with_one_instance"],
    ),
    (Wrong::Binder(Fault::IgnoresPartition), &["contract::chosen_partition_wins"]),
    (
        Wrong::Binder(Fault::ConfirmsEarly),
        &[
            "faults::a_send_waits_for_the_broker",
            "faults::a_send_without_broker_fails_at_its_deadline",
            "network::a_send_into_a_black_hole_fails_at_its_deadline",
        ],
    ),
    (Wrong::Binder(Fault::LosesSends), &["lives::publisher_close", "load::window_of_one_still_sends_all"]),
    (Wrong::Binder(Fault::SendsTwice), &["load::window_of_one_still_sends_all"]),
    (
        Wrong::Binder(Fault::NeverConfirms),
        &["contract::destination_known_at_run_time", "contract::receipts_come_for_all_and_the_window_bounds"],
    ),
    (Wrong::Binder(Fault::SendsWhenClosed), &["contract::a_closed_producer_says_so"]),
    (Wrong::Binder(Fault::TakesEveryName), &["contract::names_that_no_broker_has_are_refused"]),
    (Wrong::Binder(Fault::ClosesOnce), &["lives::closing_twice_is_no_error"]),
    (
        Wrong::Binder(Fault::ImpatientSends),
        &["faults::a_send_waits_for_the_broker", "network::a_delay_costs_time_only", "network::a_slow_reader_gets_all"],
    ),
    (
        Wrong::Binder(Fault::IgnoresSendTimeout),
        &[
            "faults::a_send_without_broker_fails_at_its_deadline",
            "network::a_send_into_a_black_hole_fails_at_its_deadline",
        ],
    ),
    (Wrong::Binder(Fault::EndedByRefusal), &["contract::a_refused_consumer_leaves_its_siblings_alone"]),
    (Wrong::Binder(Fault::HurriesDelayed), &["errors::delayed_attempts_wait_their_time_and_hold_up_nobody"]),
    (Wrong::Binder(Fault::ForgetsAttempts), &["errors::delayed_attempts_wait_their_time_and_hold_up_nobody"]),
    (Wrong::Binder(Fault::BelievesAttempts), &["errors::headers_of_ours_from_outside_are_not_believed"]),
    (Wrong::Binder(Fault::IgnoresSeek), &["settlement::a_seek_moves_the_group"]),
    (Wrong::Binder(Fault::RedrivesToAll), &["errors::a_redrive_goes_to_the_failed_group_only"]),
    (Wrong::Binder(Fault::LosesRedriven), &["errors::a_redrive_goes_to_the_failed_group_only"]),
    (Wrong::Binder(Fault::GuessesDisposals), &["errors::letters_of_which_nothing_is_said_stay"]),
    (Wrong::Binder(Fault::DiscardsUnknown), &["errors::letters_of_which_the_unknown_is_said_stay"]),
    (Wrong::Binder(Fault::PassesUnresolved), &["errors::letters_are_resolved_before_more_are_taken"]),
    (Wrong::Binder(Fault::SplitsTransactions), &["transactions::what_failed_publishes_nothing"]),
    (Wrong::Binder(Fault::SplitsCommits), &["transactions::a_killed_transactional_input_publishes_once"]),
    (Wrong::Ignores("consumer.backoff"), &["errors::backoff_has_a_floor"]),
    (Wrong::Ignores("consumer.max-attempts"), &["errors::one_attempt_is_one", "errors::retry_count_is_exact"]),
    (
        Wrong::Ignores("consumer.concurrency"),
        &["membership::concurrency_is_a_bound", "membership::parallel_handlers_keep_the_order_of_keys"],
    ),
    (Wrong::Ignores("consumer.ordering"), &["membership::one_stuck_key_stops_only_itself"]),
    (Wrong::Ignores("consumer.prefetch"), &["load::prefetch_bounds_what_is_unsettled"]),
    (Wrong::Ignores("consumer.on-exhausted"), &["errors::discarded_when_exhausted"]),
];

fn main() {
    // the cases fail by design: what they print would hide what this test prints
    std::panic::set_hook(Box::new(|_| {}));
    let whole = [
        Trial::test("every case can fail", || {
            let seen: BTreeSet<_> = NOTICED.iter().flat_map(|(_, cases)| cases.iter().copied()).collect();
            let right = harness();
            let unseen = Harness::names().into_iter().filter(|name| !seen.contains(name));
            let unseen: Vec<_> = unseen.filter(|name| !matches!(right.check(name), Outcome::Ignored(_))).collect();
            if unseen.is_empty() { Ok(()) } else { Err(format!("no fault breaks {unseen:?}").into()) }
        }),
        Trial::test("what stands before a binder changes nothing but its fault", || {
            let right = harness().faulty(Fault::TakesEveryName);
            let names =
                Harness::names().into_iter().filter(|name| *name != "contract::names_that_no_broker_has_are_refused");
            let failed: Vec<_> = names.filter(|name| matches!(right.check(name), Outcome::Failed(_))).collect();
            if failed.is_empty() { Ok(()) } else { Err(format!("these fail without a fault: {failed:?}").into()) }
        }),
        Trial::test("a repeated case runs so often and names the round that failed", || {
            let makes = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&makes);
            // the third broker swaps what it carries
            let broker = move || {
                let right = counted.fetch_add(1, SeqCst) != 2;
                let fault = if right { Fault::TakesEveryName } else { Fault::SwapsMessages };
                Broker::new(FaultyBinder::new(MemoryBinder::new(), fault))
            };
            let harness = Harness::new("memory", broker).paused_clock();
            let failed = harness.clone().repeat(5).check("load::many_in_order");
            let Outcome::Failed(text) = failed else { return Err(format!("{failed:?}").into()) };
            if !text.starts_with("round 3 of 5: out of order") || makes.load(SeqCst) != 3 {
                return Err(text.into());
            }
            let passed = harness.repeat(5).check("load::many_in_order");
            if passed == Outcome::Passed && makes.load(SeqCst) == 8 {
                Ok(())
            } else {
                Err(format!("{passed:?}").into())
            }
        }),
        Trial::test("every fault is noticed", || {
            let listed = |fault: &&Fault| {
                NOTICED.iter().any(|(wrong, _)| matches!(wrong, Wrong::Binder(known) if known == *fault))
            };
            let unlisted: Vec<_> = Fault::ALL.iter().filter(|fault| !listed(fault)).collect();
            if unlisted.is_empty() { Ok(()) } else { Err(format!("no case is said to notice {unlisted:?}").into()) }
        }),
        Trial::test("the guide lists every case and no other", || {
            let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/src/conformance.md");
            let text = std::fs::read_to_string(page).map_err(|error| format!("{page}: {error}"))?;
            let mut group = "";
            let mut listed = BTreeSet::new();
            for line in text.lines() {
                if let Some(title) = line.strip_prefix("## ") {
                    group = title;
                } else if let Some((case, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
                    listed.insert(format!("{group}::{case}"));
                }
            }
            let cases = Harness::names().into_iter().map(str::to_owned).collect();
            let differ: Vec<_> = listed.symmetric_difference(&cases).collect();
            if differ.is_empty() { Ok(()) } else { Err(format!("run `cargo xtask conformance`: {differ:?}").into()) }
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), seen_failing(harness, NOTICED).into_iter().chain(whole).collect())
        .exit()
}
