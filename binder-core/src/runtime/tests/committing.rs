//! A transactional input whose broker does not answer.

use super::super::input::RunContext;
use super::super::transaction::run_of;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_commit_no_longer_than_it_may() {
    let shared = Arc::new(Shared::default());
    shared.push(Step::Batch(vec![parcel(1, "k", "ok")]));
    let (control, receiver) = watch::channel(Command::Run);
    let state = StateCell::new("test".into(), Status::new(), HookSet::default());
    let invoke = |_: &DeliveryRef<'_>| Ok(std::future::ready(Ok(())));
    let context = RunContext {
        settings: settings(),
        exhausted: Exhausted::Discard,
        state,
        control: receiver,
        seeks: Arc::default(),
    };
    let consumer = Box::new(Scripted { shared: Arc::clone(&shared), paused: false, held: Vec::new() });
    let task = tokio::spawn(run_of(invoke, "memory".into())(consumer, context));
    shared.until(Told::Commit(vec![(1, 1)])).await;
    let start = Instant::now();
    control.send_replace(Command::Stop(Duration::from_secs(5)));
    let ended = tokio::time::timeout(Duration::from_secs(600), task).await;
    ended.expect("an end").expect("no panic").expect("a clean end");
    assert_eq!(start.elapsed().as_secs(), 5);
    let commits = shared.told().iter().filter(|told| matches!(told, Told::Commit(_))).count();
    assert_eq!(commits, 1, "what was sent is gone with the first, so its position is not committed either");
    assert_eq!(shared.told().last(), Some(&Told::Close));
}
