//! Inputs whose messages are settled in transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use binder_core::binder::{Consumer, Outgoing, Parcel};
use binder_core::config::Config;
use binder_core::message::Message;
use binder_core::prelude::*;
use libtest_mimic::Trial;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use crate::support::*;
use crate::transactions::{PATIENCE, fence, transactional_ids};

/// Makes this program a service that is killed: the name of its topics.
pub(crate) const CHILD: &str = "BINDER_KAFKA_TRANSACTIONAL_CHILD";

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("outputs_and_positions_are_committed_together", ready, outputs_and_positions_are_committed_together),
        case("a_dead_letter_is_in_the_transaction", ready, a_dead_letter_is_in_the_transaction),
        case("a_fenced_input_goes_on_cooperative", ready, || a_fenced_input_goes_on("cooperative")),
        case("a_fenced_input_goes_on_consumer", ready, || a_fenced_input_goes_on("consumer")),
        case("a_rebalance_in_mid_batch_cooperative", ready, || a_rebalance_in_mid_batch("cooperative")),
        case("a_rebalance_in_mid_batch_eager", ready, || a_rebalance_in_mid_batch("eager")),
        case("a_rebalance_in_mid_batch_consumer", ready, || a_rebalance_in_mid_batch("consumer")),
        case("members_come_and_go_in_transactions_cooperative", ready, || {
            members_come_and_go_in_transactions("cooperative")
        }),
        case("members_come_and_go_in_transactions_eager", ready, || members_come_and_go_in_transactions("eager")),
        case("members_come_and_go_in_transactions_consumer", ready, || members_come_and_go_in_transactions("consumer")),
        case("a_kill_between_publish_and_commit", ready, a_kill_between_publish_and_commit),
        case("a_transactional_group_over_markers_has_no_lag", ready, a_transactional_group_over_markers_has_no_lag),
        case("an_undecided_position_is_waited_for_cooperative", ready, || {
            an_undecided_position_is_waited_for("cooperative")
        }),
        case("an_undecided_position_is_waited_for_eager", ready, || an_undecided_position_is_waited_for("eager")),
        case("an_undecided_position_is_waited_for_consumer", ready, || an_undecided_position_is_waited_for("consumer")),
        case("an_undecided_position_holds_up_no_other_cooperative", ready, || {
            an_undecided_position_holds_up_no_other("cooperative")
        }),
        case("an_undecided_position_holds_up_no_other_consumer", ready, || {
            an_undecided_position_holds_up_no_other("consumer")
        }),
        case("without_a_position_start_decides", ready, without_a_position_start_decides),
        case("what_reads_uncommitted_is_refused", ready, what_reads_uncommitted_is_refused),
        case("batches_of_128_in_transactions", ready, batches_of_128_in_transactions),
    ]
}

#[derive(Debug, Binding)]
struct Channels {
    #[input("orders")]
    orders: Input<String>,
    #[output("invoices")]
    invoices: Output<String>,
}

/// An application that handles `<name>` and publishes to `<name>-out`.
fn application(name: &str, kind: &str, consumer: &str) -> Application {
    let broker = url().expect("checked before");
    let membership = match kind {
        "consumer" => "group-protocol: consumer".to_owned(),
        "mortal" => "configuration: { heartbeat.interval.ms: 200, session.timeout.ms: 2000 }".to_owned(),
        "uncommitted" => "configuration: { isolation.level: read_uncommitted }".to_owned(),
        kind => format!("assignment: {kind}, configuration: {{ heartbeat.interval.ms: 200 }}"),
    };
    let text = format!(
        "stream: {{
            default: {{ content-type: text/plain }},
            bindings: {{
                orders: {{ destination: {name}, group: {name}, consumer: {{
                    transactional: true, backoff: {{ initial: 10ms }}, kafka: {{ {membership} }}, {consumer}
                }} }},
                invoices: {{ destination: {name}-out }}
            }},
            binders: {{ kafka: {{
                type: kafka, brokers: '{broker}', transactional-id-prefix: {name},
                configuration: {{ fetch.wait.max.ms: 50, transaction.timeout.ms: 3000 }}
            }} }}
        }}"
    );
    let config = Config::builder().yaml(text).build().expect("the configuration is right");
    Application::builder().config(config).binder("kafka", binder_kafka::factory()).build().expect("it builds")
}

/// What handlers share.
#[derive(Clone)]
struct Desk {
    started: Arc<AtomicU32>,
    texts: Arc<Mutex<Vec<String>>>,
    permits: Arc<Semaphore>,
}

impl Desk {
    fn new(permits: usize) -> Self {
        Self { started: Arc::default(), texts: Arc::default(), permits: Arc::new(Semaphore::new(permits)) }
    }
}

/// `bad…` fails for good, `stuck…` waits for a permit.
async fn invoice(text: String, State(desk): State<Desk>) -> Result<Message<String>, HandlerError> {
    desk.texts.lock().unwrap().push(text.clone());
    desk.started.fetch_add(1, SeqCst);
    if text.starts_with("stuck") {
        desk.permits.acquire().await?.forget();
    }
    if text.starts_with("bad") {
        return Err(HandlerError::permanent("no stock"));
    }
    Ok(Message::new(format!("invoice of {text}")))
}

async fn started(name: &str, kind: &str, consumer: &str, desk: &Desk) -> Application {
    let app = application(name, kind, consumer);
    let channels = app.bind::<Channels>().await.unwrap();
    app.process(channels.orders, channels.invoices, invoice.with_state(desk.clone())).await.unwrap();
    app.start().await.unwrap();
    app.ready(Duration::from_secs(30)).await.unwrap();
    app
}

async fn send_to(name: &str, partitions: u32, texts: impl IntoIterator<Item = String>) {
    let sender = producer(&binder(), name, partitions).await;
    send_all(&*sender, texts).await;
}

async fn committed_sum(name: &str, partitions: i32) -> i64 {
    let mut sum = 0;
    for partition in 0..partitions {
        sum += committed(name, name, partition).await.unwrap_or(0);
    }
    sum
}

fn invoices(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<_> = texts.into_iter().map(|text| format!("invoice of {text}")).collect();
    all.sort();
    all
}

/// Checks what was published of these orders: one invoice each.
async fn check_invoices(name: &str, texts: impl IntoIterator<Item = String>) {
    let expected = invoices(texts);
    let mut published = committed_texts(&format!("{name}-out"), expected.len()).await;
    published.sort();
    assert_eq!(published, expected);
}

async fn outputs_and_positions_are_committed_together() {
    let (name, desk) = (unique("together"), Desk::new(0));
    send_to(&name, 1, numbered(10).into_iter().chain(["stuck".to_owned()])).await;
    let app = started(&name, "cooperative", "", &desk).await;
    until("all are started", async || desk.started.load(SeqCst) == 11).await;
    // longer than `commit-interval`, and than the transaction may take
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(seen_texts(&format!("{name}-out"), "read_uncommitted").await.len(), 0, "nothing is sent yet");
    assert_eq!(committed(&name, &name, 0).await, None);
    desk.permits.add_permits(1);
    until("it is committed", async || committed(&name, &name, 0).await == Some(11)).await;
    check_invoices(&name, numbered(10).into_iter().chain(["stuck".to_owned()])).await;
    app.shutdown().await.unwrap();
    let again = started(&name, "cooperative", "", &desk).await;
    send_to(&name, 1, ["more".to_owned()]).await;
    until("it goes on", async || committed(&name, &name, 0).await == Some(12)).await;
    assert_eq!(desk.started.load(SeqCst), 12, "nothing is handled twice");
    again.shutdown().await.unwrap();
}

async fn a_dead_letter_is_in_the_transaction() {
    let (name, desk) = (unique("dead"), Desk::new(0));
    send_to(&name, 1, ["a", "bad", "stuck"].map(str::to_owned)).await;
    let app = started(&name, "cooperative", "", &desk).await;
    until("all are started", async || desk.started.load(SeqCst) == 3).await;
    let letters = format!("error.{name}.{name}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seen_texts(&letters, "read_uncommitted").await.len(), 0, "it waits for its batch");
    desk.permits.add_permits(1);
    until("it is committed", async || committed(&name, &name, 0).await == Some(3)).await;
    assert_eq!(committed_texts(&letters, 1).await, ["bad"]);
    let dead = raw_read(&letters, 0, 1).await;
    let reason = crate::support::header(&dead[0], "x-exception-message").remove(0).unwrap();
    assert!(String::from_utf8(reason).unwrap().contains("no stock"));
    check_invoices(&name, ["a", "stuck"].map(str::to_owned)).await;
    app.shutdown().await.unwrap();
}

async fn a_fenced_input_goes_on(kind: &'static str) {
    let (name, desk) = (unique("fenced"), Desk::new(0));
    send_to(&name, 1, numbered(5)).await;
    let app = started(&name, kind, "", &desk).await;
    until("it is committed", async || committed(&name, &name, 0).await == Some(5)).await;
    let ids = transactional_ids(&name).await;
    assert_eq!(ids.len(), 1, "{ids:?}");
    send_to(&name, 1, ["stuck".to_owned()]).await;
    until("it is started", async || desk.started.load(SeqCst) == 6).await;
    fence(ids[0].clone()).await;
    desk.permits.add_permits(1);
    until("it is committed", async || committed(&name, &name, 0).await == Some(6)).await;
    check_invoices(&name, numbered(5).into_iter().chain(["stuck".to_owned()])).await;
    app.shutdown().await.unwrap();
}

/// A second member joins while the first is in the middle of a batch: it gets the partitions of the batch when that is
/// committed. Others it may have at once: a batch is what one answer of the broker brings, which need not be of all.
async fn a_rebalance_in_mid_batch(kind: &'static str) {
    const PARTITIONS: u32 = 4;
    let (name, desk) = (unique("mid"), Desk::new(0));
    let texts: Vec<_> =
        (0..40).map(|number| if number % 4 == 3 { format!("stuck {number}") } else { number.to_string() }).collect();
    let sender = producer(&binder(), &name, PARTITIONS).await;
    let partition_of = |number: u32| number / 4 % PARTITIONS;
    let partitions = |desk: &Desk| -> BTreeSet<u32> {
        let texts = desk.texts.lock().unwrap();
        texts.iter().map(|text| partition_of(text.trim_start_matches("stuck ").parse().unwrap())).collect()
    };
    for (number, text) in texts.iter().enumerate() {
        let partition = Some(partition_of(number as u32));
        send(&*sender, Outgoing { partition, ..crate::support::text(text, None) }).await.unwrap();
    }
    let all_at_once = "ordering: none, concurrency: 100";
    let first = started(&name, kind, all_at_once, &desk).await;
    until("a batch is under way", async || desk.started.load(SeqCst) >= 4).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (held, desk_of_second) = (partitions(&desk), Desk { permits: Arc::clone(&desk.permits), ..Desk::new(0) });
    let second = started(&name, kind, all_at_once, &desk_of_second).await;
    // long enough for the group to ask for partitions; how it does that nobody tells
    tokio::time::sleep(Duration::from_secs(3)).await;
    let taken = partitions(&desk_of_second);
    assert!(taken.is_disjoint(&held), "the second has {taken:?}, of which the first had {held:?} under way");
    for partition in held {
        // what is done may be committed for the sake of a partition that is given back
        let position = committed(&name, &name, partition as i32).await.unwrap_or(0);
        assert!(position <= 3, "the fourth of partition {partition} is under way, the group is at {position}");
    }
    desk.permits.add_permits(100);
    until("all is committed", async || committed_sum(&name, PARTITIONS as i32).await == 40).await;
    check_invoices(&name, texts).await;
    let handled = desk.started.load(SeqCst) + desk_of_second.started.load(SeqCst);
    assert_eq!(handled, 40, "nothing is handled twice");
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
}

/// A second member joins, and the first leaves, while batches are under way.
async fn members_come_and_go_in_transactions(kind: &'static str) {
    const PARTITIONS: u32 = 4;
    const COUNT: usize = 3_000;
    let (name, desk) = (unique("rebalance"), Desk::new(0));
    send_to(&name, PARTITIONS, numbered(COUNT)).await;
    let slow = "ordering: key, concurrency: 8";
    let first = started_slowly(&name, kind, slow, &desk).await;
    until("it is under way", async || desk.started.load(SeqCst) > 200).await;
    let second = started_slowly(&name, kind, slow, &desk).await;
    until("both are under way", async || desk.started.load(SeqCst) > 1_500).await;
    first.shutdown().await.unwrap();
    until("all is committed", async || committed_sum(&name, PARTITIONS as i32).await == COUNT as i64).await;
    check_invoices(&name, numbered(COUNT)).await;
    second.shutdown().await.unwrap();
}

async fn invoice_slowly(text: String, State(desk): State<Desk>) -> Message<String> {
    desk.started.fetch_add(1, SeqCst);
    // so that a batch takes a while, which is what a rebalance is to hit
    tokio::time::sleep(Duration::from_millis(5)).await;
    Message::new(format!("invoice of {text}"))
}

async fn started_slowly(name: &str, kind: &str, consumer: &str, desk: &Desk) -> Application {
    let app = application(name, kind, consumer);
    let channels = app.bind::<Channels>().await.unwrap();
    app.process(channels.orders, channels.invoices, invoice_slowly.with_state(desk.clone())).await.unwrap();
    app.start().await.unwrap();
    app.ready(Duration::from_secs(30)).await.unwrap();
    app
}

/// What the program does as a service that is killed.
pub(crate) fn run_child(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let app = started(name, "mortal", "", &Desk::new(0)).await;
        app.run_until(std::future::pending()).await.unwrap();
    });
}

/// A service is killed each time when something of it can be read that it has not committed.
async fn a_kill_between_publish_and_commit() {
    // more than the service does before it is killed, however late that is
    const AHEAD: usize = 10_000;
    let name = unique("kill");
    let out = format!("{name}-out");
    // so that the topic is there to be watched
    send_to(&out, 1, []).await;
    // the way from the publish to the commit is short, and the broker may have been asked for the commit already
    let (mut kills, mut between, mut sent, mut done) = (0, 0, 0, 0);
    while kills < 5 || between < 3 && kills < 30 {
        if sent - done < AHEAD {
            send_to(&name, 1, numbered(sent + AHEAD).split_off(sent)).await;
            sent += AHEAD;
        }
        let (group, watched) = (name.clone(), out.clone());
        let kill = move || {
            let program = std::env::current_exe().unwrap();
            let start = || std::process::Command::new(program).env(CHILD, &group).spawn().unwrap();
            let mut child = crate::transactions::until_next_record(&watched, start);
            child.kill().unwrap();
            child.wait().unwrap();
        };
        tokio::task::spawn_blocking(kill).await.unwrap();
        kills += 1;
        let written = seen_texts(&out, "read_uncommitted").await.len();
        done = committed(&name, &name, 0).await.unwrap_or(0) as usize;
        between += i32::from(done < written);
    }
    let app = started(&name, "cooperative", "", &Desk::new(0)).await;
    until("all is committed", async || committed(&name, &name, 0).await == Some(sent as i64)).await;
    check_invoices(&name, numbered(sent)).await;
    let aborted = seen_texts(&out, "read_uncommitted").await.len() - sent;
    assert!(aborted > 0, "none of {kills} kills came between publish and commit");
    app.shutdown().await.unwrap();
}

/// What a transaction has written has a marker behind it, which the next service passes.
async fn a_transactional_group_over_markers_has_no_lag() {
    let (name, desk) = (unique("markers"), Desk::new(0));
    let writer = application(&name, "cooperative", "");
    let channels = writer.bind::<Channels>().await.unwrap();
    let orders = channels.invoices.to(&name);
    writer.transaction(async |tx| Ok(tx.send(&orders, &"a".to_owned()).await?)).await.unwrap();
    writer.shutdown().await.unwrap();
    let app = started(&name, "cooperative", "", &desk).await;
    until("it is committed", async || committed(&name, &name, 0).await == Some(1)).await;
    until("the marker is passed", async || committed(&name, &name, 0).await == Some(2)).await;
    assert_eq!(desk.started.load(SeqCst), 1);
    app.shutdown().await.unwrap();
}

/// Moves a group in the first partitions with a transaction of somebody else, which is left open.
async fn moved(name: &str, partitions: i32, offset: i64) -> BaseProducer {
    let name = name.to_owned();
    let begin = move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", url().expect("checked before"));
        let member: BaseConsumer = config.clone().set("group.id", &name).create().unwrap();
        config.set("transactional.id", format!("{name}-other")).set("transaction.timeout.ms", "60000");
        let client: BaseProducer = config.create().unwrap();
        client.init_transactions(PATIENCE).unwrap();
        client.begin_transaction().unwrap();
        let mut offsets = TopicPartitionList::new();
        for partition in 0..partitions {
            offsets.add_partition_offset(&name, partition, Offset::Offset(offset)).unwrap();
        }
        client.send_offsets_to_transaction(&offsets, &member.group_metadata().unwrap(), PATIENCE).unwrap();
        client
    };
    tokio::task::spawn_blocking(begin).await.unwrap()
}

async fn member(name: &str, kind: &str) -> Box<dyn Consumer> {
    let mut binding = input(name, Some(name));
    binding.tells_assignments = true;
    binding.properties.transactional = true;
    binding.section = section(membership(kind));
    binder_of(kind).bind_consumer(&binding).await.unwrap()
}

/// Takes a step; returns whether it is an assignment.
async fn is_assigned(member: &mut Box<dyn Consumer>, seen: &mut Vec<Parcel>) -> bool {
    match step(member).await {
        Step::Assigned(_) => return true,
        Step::Batch(parcels) => seen.extend(parcels),
        Step::Revoked(lanes) => member.release(&lanes).await.unwrap(),
        Step::Lost(_) => {}
    }
    false
}

/// With them goes the topic of what comes back.
const PARTITIONS: u32 = 4;

/// Makes a topic with five messages in each partition, and a group of its name that has handled two of each.
async fn standing_at_two() -> String {
    let name = unique("undecided");
    let sender = producer(&binder(), &name, PARTITIONS).await;
    for number in 0..5 * PARTITIONS {
        let (text, partition) = (number.to_string(), Some(number % PARTITIONS));
        send(&*sender, Outgoing { partition, ..crate::support::text(&text, None) }).await.unwrap();
    }
    let stands = moved(&name, PARTITIONS as i32, 2).await;
    tokio::task::spawn_blocking(move || stands.commit_transaction(PATIENCE).unwrap()).await.unwrap();
    name
}

async fn received(member: &mut Box<dyn Consumer>, count: u32) -> Vec<u32> {
    let received = payloads(&receive(member, count as usize).await);
    let mut received: Vec<u32> = received.iter().map(|text| text.parse().unwrap()).collect();
    received.sort_unstable();
    received
}

/// While a transaction is open that moves a group nobody knows where the group stands. However often partitions change hands until that
/// is decided, nobody begins elsewhere: not where `start` says, as librdkafka 2.12 does if the assignment changes while it asks.
async fn an_undecided_position_is_waited_for(kind: &'static str) {
    let name = standing_at_two().await;
    let open = moved(&name, PARTITIONS as i32, 4).await;
    let (mut first, mut seen) = (member(&name, kind).await, Vec::new());
    while !is_assigned(&mut first, &mut seen).await {}
    for _ in 0..3 {
        let mut second = member(&name, kind).await;
        loop {
            let mut seen_of_second = Vec::new();
            let has_some = tokio::select! {
                _ = is_assigned(&mut first, &mut seen) => false,
                assigned = is_assigned(&mut second, &mut seen_of_second) => assigned,
            };
            seen.extend(seen_of_second);
            if has_some {
                break;
            }
        }
        let leaving = tokio::spawn(second.close());
        while !is_assigned(&mut first, &mut seen).await {}
        leaving.await.unwrap().unwrap();
    }
    // longer than librdkafka waits before it asks again
    seen.extend(quiet(&mut first, Duration::from_millis(1500)).await);
    assert_eq!(payloads(&seen), [""; 0], "nobody knows where to begin");
    tokio::task::spawn_blocking(move || open.abort_transaction(PATIENCE).unwrap()).await.unwrap();
    assert_eq!(received(&mut first, 3 * PARTITIONS).await, Vec::from_iter(2 * PARTITIONS..5 * PARTITIONS));
    first.close().await.unwrap();
}

async fn an_undecided_position_holds_up_no_other(kind: &'static str) {
    let name = standing_at_two().await;
    let open = moved(&name, 1, 4).await;
    let mut member = member(&name, kind).await;
    let (undecided, decided): (Vec<_>, Vec<_>) =
        (2 * PARTITIONS..5 * PARTITIONS).partition(|number| number.is_multiple_of(PARTITIONS));
    assert_eq!(received(&mut member, 3 * (PARTITIONS - 1)).await, decided);
    tokio::task::spawn_blocking(move || open.abort_transaction(PATIENCE).unwrap()).await.unwrap();
    assert_eq!(received(&mut member, 3).await, undecided);
    member.close().await.unwrap();
}

/// A group that is new begins at what is kept, or at what comes, as its configuration says.
async fn without_a_position_start_decides() {
    for start in ["earliest", "latest"] {
        let (name, desk) = (unique("start"), Desk::new(0));
        send_to(&name, 1, ["before".to_owned()]).await;
        let app = started(&name, "cooperative", &format!("start: {start}"), &desk).await;
        let begun = Instant::now();
        // `latest` is where the end is when the member asks, which nobody sees
        while desk.started.load(SeqCst) == 0 && begun.elapsed() < PATIENCE {
            send_to(&name, 1, ["after".to_owned()]).await;
        }
        let first = desk.texts.lock().unwrap()[0].clone();
        assert_eq!(first, if start == "earliest" { "before" } else { "after" });
        app.shutdown().await.unwrap();
    }
}

async fn what_reads_uncommitted_is_refused() {
    let app = application("any", "uncommitted", "");
    let error = app.bind::<Channels>().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`isolation.level: read_uncommitted`"), "{error:?}");
}

/// Says how fast it is; fails only if it is unusable.
async fn batches_of_128_in_transactions() {
    const COUNT: usize = 12_800;
    let (name, desk) = (unique("speed"), Desk::new(0));
    send_to(&name, 1, numbered(COUNT)).await;
    let begun = Instant::now();
    let app = started(&name, "cooperative", "prefetch: 128", &desk).await;
    until("the first are handled", async || desk.started.load(SeqCst) > 0).await;
    let (first, after_start) = (Instant::now(), desk.started.load(SeqCst));
    until("all is committed", async || committed(&name, &name, 0).await == Some(COUNT as i64)).await;
    let took = first.elapsed();
    let rate = f64::from(COUNT as u32 - after_start) / took.as_secs_f64();
    eprintln!("batches of 128 in transactions: {rate:.0} messages/s ({took:?}, started after {:?})", first - begun);
    assert!(took < Duration::from_secs(60), "{took:?}");
    let mut counts = BTreeMap::new();
    for text in committed_texts(&format!("{name}-out"), COUNT).await {
        *counts.entry(text).or_insert(0) += 1;
    }
    assert!(counts.len() == COUNT && counts.values().all(|count| *count == 1));
    app.shutdown().await.unwrap();
}
