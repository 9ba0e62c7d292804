//! The receive loop of batch handlers against a scripted consumer.

use super::super::batch::BatchRunner;
use super::super::input::{Decoder, RunContext};
use super::*;
use crate::codec::Codecs;
use crate::handler::{Batch, BatchOutcome};

/// A running batch runner. A call tells its payloads; then it does what the first of them says, to all.
struct Batches {
    shared: Arc<Shared>,
    state: StateCell,
    control: watch::Sender<Command>,
    calls: mpsc::UnboundedReceiver<Vec<String>>,
    open: Arc<Notify>,
    graves: Arc<Graveyard>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Batches {
    fn start(parcels: Vec<Parcel>) -> Self {
        let shared = Arc::new(Shared::default());
        shared.push(Step::Batch(parcels));
        let (control, receiver) = watch::channel(Command::Run);
        let state = StateCell::new("test".into(), Status::new(), HookSet::default());
        let (sender, calls) = mpsc::unbounded_channel();
        let open = Arc::new(Notify::new());
        let gate = Arc::clone(&open);
        let handler = move |batch: Batch<String>| {
            let payloads: Vec<String> = batch.payloads().cloned().collect();
            let does = payloads[0].clone();
            sender.send(payloads).expect("somebody listens");
            let gate = Arc::clone(&gate);
            let last = batch.len() - 1;
            async move {
                if does == "the last fails" {
                    let later = HandlerError::transient("later").retry_after(Duration::from_secs(60));
                    return BatchOutcome::ok().with_failure(last, later);
                }
                obey(does, gate).await.map_or_else(BatchOutcome::failed, |()| BatchOutcome::ok())
            }
        };
        let graves = Arc::new(Graveyard::default());
        let context = RunContext {
            settings: settings(),
            exhausted: Exhausted::DeadLetter(Arc::clone(&graves) as Arc<dyn DeadLetterSink>),
            state: state.clone(),
            control: receiver,
            seeks: Arc::default(),
        };
        let decoder = Decoder { codecs: Codecs::default(), content_type: ContentType::TEXT, from_header: false };
        let consumer = Box::new(Scripted { shared: Arc::clone(&shared), paused: false, held: Vec::new() });
        let runner = BatchRunner::of(handler, decoder, consumer, context);
        let task = tokio::spawn(runner.run());
        Self { shared, state, control, calls, open, graves, task }
    }

    async fn call(&mut self) -> Vec<String> {
        let call = tokio::time::timeout(Duration::from_secs(3600), self.calls.recv());
        call.await.expect("a call in time").expect("the runner runs")
    }

    /// Waits until all is done, and stops.
    async fn told(self) -> Vec<Told> {
        tokio::time::sleep(Duration::from_secs(600)).await;
        self.control.send_replace(Command::Stop(Duration::ZERO));
        self.task.await.expect("no panic").expect("a clean end");
        self.shared.told().into_iter().filter(|told| !matches!(told, Told::Pause | Told::Resume)).collect()
    }
}

fn of_lane(lane: u32, sequence: u64, payload: &str) -> Parcel {
    Parcel { token: Token { lane: LaneId(lane), sequence }, ..parcel(sequence, "k", payload) }
}

/// What would make a timer that starts anew with each message wait for ever.
#[tokio::test(start_paused = true)]
async fn a_steady_flow_holds_no_batch_back() {
    let mut bench = Batches::start(vec![parcel(1, "k", "ok 1")]);
    for sequence in 2..=100 {
        assert_eq!(bench.call().await, [format!("ok {}", sequence - 1)]);
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(10)).await;
        bench.shared.push(Step::Batch(vec![parcel(sequence, "k", &format!("ok {sequence}"))]));
        quiet().await;
        assert!(begun.elapsed() <= Duration::from_millis(12));
        assert_eq!(bench.calls.len(), 1, "{sequence} waits for more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_lanes_are_all_lost_ends_before_its_messages_come_again() {
    let mut bench = Batches::start(vec![of_lane(1, 1, "wait"), of_lane(2, 1, "ok")]);
    bench.call().await;
    let start = Instant::now();
    bench.shared.push(Step::Lost(vec![LaneId(1), LaneId(2)]));
    bench.shared.push(Step::Batch(vec![of_lane(3, 1, "ok")]));
    assert_eq!(bench.call().await, ["ok"], "though the gate is closed");
    assert_eq!(start.elapsed().as_secs(), 0);
    assert_eq!(bench.told().await, [Told::Settle(3, 1), Told::Close]);
}

#[tokio::test(start_paused = true)]
async fn an_item_of_a_lost_lane_is_neither_settled_nor_tried_again() {
    let mut bench = Batches::start(vec![of_lane(1, 1, "wait"), of_lane(2, 1, "b")]);
    bench.call().await;
    bench.shared.push(Step::Lost(vec![LaneId(2)]));
    quiet().await;
    bench.open.notify_one();
    bench.shared.until(Told::Settle(1, 1)).await;
    assert_eq!(bench.state.counts().get().too_late, 1);
    assert_eq!(bench.told().await, [Told::Settle(1, 1), Told::Close]);

    let mut bench = Batches::start(vec![of_lane(1, 1, "fail"), of_lane(2, 1, "b")]);
    bench.call().await;
    quiet().await;
    bench.shared.push(Step::Lost(vec![LaneId(2)]));
    assert_eq!(bench.call().await, ["fail"], "of the second attempt only what is still here");
    assert_eq!(bench.call().await, ["fail"]);
    let graves = Arc::clone(&bench.graves);
    assert_eq!(bench.told().await, [Told::Settle(1, 1), Told::Close]);
    assert_eq!(*graves.letters.lock().expect("no panic"), [("fail".to_owned(), 3)]);
}

#[tokio::test(start_paused = true)]
async fn revoked_lanes_are_given_back_at_the_deadline_though_a_batch_runs() {
    let mut bench = Batches::start(vec![of_lane(1, 1, "sleep"), of_lane(2, 1, "b")]);
    bench.call().await;
    let start = Instant::now();
    bench.shared.push(Step::Revoked(vec![LaneId(2)]));
    bench.shared.until(Told::Release(vec![2])).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(bench.told().await, [Told::Release(vec![2]), Told::Settle(1, 1), Told::Close]);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_in_a_lane_is_settled_before_it_is_given_up() {
    let parcels = vec![of_lane(1, 1, "the last fails"), of_lane(1, 2, "b"), of_lane(1, 3, "c")];
    let mut bench = Batches::start(parcels);
    bench.call().await;
    bench.shared.push(Step::Revoked(vec![LaneId(1)]));
    bench.shared.until(Told::Release(vec![1])).await;
    assert_eq!(bench.told().await, [Told::Settle(1, 2), Told::Release(vec![1]), Told::Close]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_as_large_as_prefetch_says_also_behind_another() {
    let mut bench = Batches::start((1..=150).map(|n| of_lane(1, n, if n == 1 { "sleep" } else { "b" })).collect());
    assert_eq!(bench.call().await.len(), 100);
    bench.shared.push(Step::Batch((151..=300).map(|n| of_lane(1, n, "b")).collect()));
    for size in [50, 100, 50] {
        assert!(bench.call().await.len() <= 100, "{size}");
    }
    assert!(bench.told().await.contains(&Told::Settle(1, 300)));
}
