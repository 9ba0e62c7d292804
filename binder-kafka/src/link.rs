//! What a client says of its connection, and where that is reported.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
#[cfg(feature = "tls")]
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use binder_core::Error;
use binder_core::binder::{BinderHealth, Status};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::Tls;
use crate::error::{from_code, from_kafka};

/// How often a client that lost its brokers is asked whether it has one again.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How long such a question waits for its answer.
pub(crate) const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// How often a client that somebody polls tells of itself.
pub(crate) const TELLS_EVERY: &str = "5000";

/// How long the meaning of a failed handshake is believed.
#[cfg(feature = "tls")]
const SECOND_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// How long a bind that fails waits for that meaning.
#[cfg(feature = "tls")]
const SECOND_LOOK_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the clients of a binder come in, for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub(crate) user: Option<String>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "there is no TLS without the feature"))]
    pub(crate) tls: Option<Tls>,
}

/// What the clients of a binder have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    access: Access,
    next_link: AtomicU64,
    reached: AtomicBool,
    down: Mutex<BTreeMap<u64, String>>,
    failure: Mutex<Option<String>>,
    closed: AtomicBool,
    closing: Notify,
}

impl Shared {
    pub(crate) fn new(access: Access) -> Self {
        Self { access, ..Self::default() }
    }

    pub(crate) fn health(&self) -> BinderHealth {
        match lock(&self.down).values().next() {
            Some(reason) => BinderHealth::Connecting(reason.clone()),
            None if self.reached.load(SeqCst) => BinderHealth::Up,
            None => {
                let failure = lock(&self.failure).clone();
                BinderHealth::Connecting(failure.unwrap_or_else(|| "not connected yet".to_owned()))
            }
        }
    }

    /// Notes why nothing could be bound.
    pub(crate) fn failed(&self, error: &Error) {
        *lock(&self.failure) = Some(error.message().to_owned());
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.closing.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Resolves when the binder is closed.
    pub(crate) async fn wait_closed(&self) {
        let mut closing = std::pin::pin!(self.closing.notified());
        closing.as_mut().enable();
        if !self.is_closed() {
            closing.await;
        }
    }
}

/// Asks a client for an answer of a broker; `None` when the client is gone.
type Probe = Box<dyn Fn() -> Option<bool> + Send + Sync>;

/// The connection of one client, as far as the client tells.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

/// A handshake that failed.
#[cfg(feature = "tls")]
#[derive(Clone)]
struct Handshake {
    said: String,
    at: Instant,
    /// None while the broker's certificate is being looked at.
    meaning: Option<String>,
}

struct Inner {
    binder: String,
    channel: Arc<str>,
    id: u64,
    shared: Arc<Shared>,
    status: Option<Status>,
    down: AtomicBool,
    reason: Mutex<Option<String>>,
    waits: Mutex<Option<String>>,
    #[cfg(feature = "tls")]
    handshake: Mutex<Option<Handshake>>,
    /// Notified when the meaning of a handshake is known.
    #[cfg(feature = "tls")]
    looked: Condvar,
    probe: OnceLock<Probe>,
    /// When a broker answered last.
    heard: Arc<Mutex<Option<Instant>>>,
    /// How long that may be ago, if the client tells.
    patience: OnceLock<Duration>,
    /// Whether it is longer ago. What the client still holds says nothing then.
    silent: AtomicBool,
    runtime: Handle,
}

impl Link {
    pub(crate) fn new(binder: &str, channel: Arc<str>, shared: &Arc<Shared>, status: Option<Status>) -> Self {
        Self(Arc::new(Inner {
            binder: binder.to_owned(),
            channel,
            id: shared.next_link.fetch_add(1, SeqCst),
            shared: Arc::clone(shared),
            status,
            down: AtomicBool::new(false),
            reason: Mutex::default(),
            waits: Mutex::default(),
            #[cfg(feature = "tls")]
            handshake: Mutex::default(),
            #[cfg(feature = "tls")]
            looked: Condvar::new(),
            probe: OnceLock::new(),
            heard: Arc::default(),
            patience: OnceLock::new(),
            silent: AtomicBool::new(false),
            runtime: Handle::current(),
        }))
    }

    /// Sets how the client is asked for an answer of a broker while there seems to be none.
    pub(crate) fn probe_with(&self, probe: impl Fn() -> Option<bool> + Send + Sync + 'static) {
        if self.0.probe.set(Box::new(probe)).is_ok() && self.is_down() {
            self.watch();
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.0.down.load(SeqCst)
    }

    /// Returns why no broker is reached, if none is.
    pub(crate) fn reason(&self) -> Option<String> {
        if self.is_down() { lock(&self.0.reason).clone() } else { None }
    }

    /// Returns the last complaint of the client, whether or not a broker is reached.
    pub(crate) fn complaint(&self) -> Option<String> {
        lock(&self.0.reason).clone()
    }

    /// Has the binding tell when a broker answered last; one has just done so. After `patience` without an answer the binding is connecting.
    pub(crate) fn tells(&self, patience: Duration) {
        let _ = self.0.patience.set(patience);
        self.heard(Duration::ZERO);
        if let Some(status) = &self.0.status {
            let heard = Arc::clone(&self.0.heard);
            status.hears(move || lock(&heard).map(|at| at.elapsed()));
        }
    }

    /// Notes how long ago a broker has answered; the binding works, or no more.
    pub(crate) fn heard(&self, ago: Duration) {
        let silence = {
            let mut heard = lock(&self.0.heard);
            *heard = (*heard).max(Instant::now().checked_sub(ago));
            heard.map_or(Duration::ZERO, |at| at.elapsed())
        };
        if self.0.patience.get().is_none_or(|patience| silence <= *patience) {
            self.0.silent.store(false, SeqCst);
            self.worked();
        } else if !self.0.silent.swap(true, SeqCst) && !self.is_down() {
            self.suspect(silence);
        }
    }

    /// Asks once more before the connection counts as lost: the client may have had no reason to ask.
    #[cold]
    fn suspect(&self, silence: Duration) {
        let link = self.clone();
        self.0.runtime.spawn(async move {
            if link.asked().await == Some(true) {
                link.heard(Duration::ZERO);
            } else if link.0.silent.load(SeqCst) && !link.is_down() {
                link.lost(format!("no broker has answered for {} s", silence.as_secs()));
            }
        });
    }

    /// Asks for an answer of a broker; `None` if there is nobody to ask.
    async fn asked(&self) -> Option<bool> {
        let asked = self.clone();
        let answer = tokio::task::spawn_blocking(move || asked.0.probe.get().and_then(|probe| probe()));
        answer.await.ok().flatten()
    }

    /// Takes what the client tells of itself from time to time.
    #[cold]
    pub(crate) fn on_statistics(&self, told: &[u8]) {
        match serde_json::from_slice::<Statistics>(told) {
            Ok(told) => self.heard(told.silence().unwrap_or(Duration::MAX)),
            Err(cause) => tracing::debug!(link = ?self, "the client's statistics can't be read: {cause}"),
        }
    }

    /// Notes that a broker has answered. Cheap while all is well.
    pub(crate) fn worked(&self) {
        if self.0.down.load(SeqCst) && !self.0.silent.load(SeqCst) && self.0.down.swap(false, SeqCst) {
            tracing::info!(binder = %self.0.binder, channel = %self.0.channel, "connected to Kafka again");
            self.up();
        }
    }

    /// Reports that the binding works, unless it [`waits`](Self::waits).
    pub(crate) fn up(&self) {
        *lock(&self.0.reason) = None;
        self.0.shared.reached.store(true, SeqCst);
        let waits = lock(&self.0.waits).clone();
        if let Some(reason) = waits {
            return self.report(reason);
        }
        lock(&self.0.shared.down).remove(&self.0.id);
        if let Some(status) = &self.0.status {
            status.up();
        }
    }

    /// Notes for what the binding waits though a broker is reached, or that it waits no more.
    pub(crate) fn waits(&self, reason: Option<&str>) {
        let before = std::mem::replace(&mut *lock(&self.0.waits), reason.map(str::to_owned));
        // else the lost connection is what is to be told
        if !self.is_down() && before.as_deref() != reason {
            self.up();
        }
    }

    /// Maps an error and says why no broker is reached, if none is.
    pub(crate) fn fail(&self, cause: KafkaError) -> Error {
        self.place(from_kafka(cause, self.reason().as_deref()))
    }

    /// As [`fail`](Self::fail), from a bare code.
    pub(crate) fn fail_code(&self, code: Code) -> Error {
        self.place(from_code(code, self.reason().as_deref()))
    }

    fn place(&self, error: Error) -> Error {
        error.with_context("binder", self.0.binder.as_str()).with_context("binding", self.0.channel.as_ref())
    }

    /// Takes what the client's error callback says.
    pub(crate) fn on_error(&self, error: &KafkaError, text: &str) {
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown) => {
                let reason = self.complaint().unwrap_or_else(|| text.to_owned());
                self.lost(reason);
            }
            Some(Code::Authentication | Code::SaslAuthenticationFailed) => {
                self.refused(&refusal(text, self.0.shared.access.user.as_deref()));
            }
            Some(Code::SSL) => self.on_handshake(text),
            // the same words, when the broker's answer is there before the client looks for it
            Some(Code::BrokerTransportFailure) if text.contains("certificate verify failed") => self.on_handshake(text),
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => match alert(text) {
                Some(refusal) => self.refused(&refusal),
                None => self.complain(&hang_up(text).unwrap_or_else(|| text.to_owned())),
            },
            Some(Code::Fatal) => {
                tracing::error!(binder = %self.0.binder, channel = %self.0.channel, "the Kafka client gave up: {text}");
                self.lost(text.to_owned());
            }
            _ => tracing::warn!(binder = %self.0.binder, channel = %self.0.channel, "Kafka: {error}: {text}"),
        }
    }

    /// Takes a line of the client's log.
    pub(crate) fn on_log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(binder = %self.0.binder, channel = %self.0.channel, facility, "{text}");
            }
            // failures come through the error callback too; and a setting may be meant for the other kind of client
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning if !matches!(facility, "FAIL" | "ERROR" | "CONFWARN") => {
                tracing::warn!(binder = %self.0.binder, channel = %self.0.channel, facility, "{text}");
            }
            _ => tracing::debug!(binder = %self.0.binder, channel = %self.0.channel, facility, "{text}"),
        }
    }

    fn refused(&self, text: &str) {
        self.complain(text);
        self.lost(text.to_owned());
    }

    #[cfg(not(feature = "tls"))]
    fn on_handshake(&self, text: &str) {
        self.refused(text);
    }

    /// Looks at the broker's certificate, on another thread, and not again soon for the same words.
    #[cfg(feature = "tls")]
    fn on_handshake(&self, text: &str) {
        let said = steady(text).to_owned();
        let known = lock(&self.0.handshake).clone();
        let known = known.filter(|known| known.said == said && known.at.elapsed() < SECOND_LOOK_INTERVAL);
        if let Some(known) = known {
            if let Some(meaning) = known.meaning {
                self.refused(&meaning);
            }
            return;
        }
        let looking = Handshake { said: said.clone(), at: Instant::now(), meaning: None };
        *lock(&self.0.handshake) = Some(looking.clone());
        let tls = self.0.shared.access.tls.clone().unwrap_or_default();
        // whoever has let go of the link in the meantime does not want to know
        let link = Arc::downgrade(&self.0);
        self.0.runtime.spawn_blocking(move || {
            let meaning = address(&said).and_then(|address| crate::tls::reason(address, &tls)).unwrap_or(said);
            let Some(link) = link.upgrade().map(Self) else { return };
            link.refused(&meaning);
            *lock(&link.0.handshake) = Some(Handshake { meaning: Some(meaning), ..looking });
            link.0.looked.notify_all();
        });
    }

    /// Waits while a broker's certificate is being looked at, for a while. Blocks.
    pub(crate) fn await_meaning(&self) {
        #[cfg(feature = "tls")]
        {
            let looking = |handshake: &mut Option<Handshake>| {
                handshake.as_ref().is_some_and(|handshake| handshake.meaning.is_none())
            };
            let handshake = lock(&self.0.handshake);
            drop(self.0.looked.wait_timeout_while(handshake, SECOND_LOOK_PATIENCE, looking));
        }
    }

    fn complain(&self, text: &str) {
        let before = lock(&self.0.reason).replace(text.to_owned());
        if before.as_deref().map(steady) == Some(steady(text)) {
            return;
        }
        tracing::warn!(binder = %self.0.binder, channel = %self.0.channel, "Kafka: {text}");
        if self.is_down() {
            self.report(text.to_owned());
        }
    }

    fn lost(&self, reason: String) {
        *lock(&self.0.reason) = Some(reason.clone());
        self.report(reason);
        if !self.0.down.swap(true, SeqCst) {
            self.watch();
        }
    }

    fn report(&self, reason: String) {
        lock(&self.0.shared.down).insert(self.0.id, reason.clone());
        if let Some(status) = &self.0.status {
            status.connecting(reason);
        }
    }

    /// Asks from time to time until a broker has answered: an idle client would not notice.
    fn watch(&self) {
        if self.0.probe.get().is_none() {
            return;
        }
        let link = self.clone();
        self.0.runtime.spawn(async move {
            while link.is_down() {
                tokio::time::sleep(PROBE_INTERVAL).await;
                match link.asked().await {
                    Some(true) => link.heard(Duration::ZERO),
                    Some(false) => {}
                    None => break,
                }
            }
        });
    }
}

/// What a client tells of its brokers.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, BrokerStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    /// How many µs ago something was received over the connection that there is; -1 is nothing yet.
    rxidle: i64,
}

impl Statistics {
    fn silence(&self) -> Option<Duration> {
        let known = self.brokers.values().filter_map(|broker| u64::try_from(broker.rxidle).ok());
        known.min().map(Duration::from_micros)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&self.shared.down).remove(&self.id);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("binder", &self.0.binder).field("channel", &self.0.channel).finish_non_exhaustive()
    }
}

/// The broker that a complaint is about: `host:port` of `ssl://host:port/1: SSL handshake failed`.
fn address(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    rest.split_once('/').map(|(address, _)| address)
}

/// What the broker says to a wrong password, with the user's name.
fn refusal(text: &str, user: Option<&str>) -> String {
    match (steady(text).split_once(": SASL authentication error: "), address(text), user) {
        (Some((_, said)), Some(address), Some(user)) => {
            format!("the broker at {address} refuses user `{user}`: {said}")
        }
        _ => text.to_owned(),
    }
}

/// What the broker says to a client without a certificate that it accepts; it comes when the client is already through.
fn alert(text: &str) -> Option<String> {
    let said = steady(text);
    let about_certificate = said.contains("SSL alert") && (said.contains("certificate") || said.contains("unknown ca"));
    let address = address(said).filter(|_| about_certificate)?;
    let (_, said) = said.split_once(": ")?;
    Some(format!(
        "the broker at {address} refuses the client certificate, or the lack of one; see `tls.certificate`: {said}"
    ))
}

/// What it may mean that a broker ends a connection with TLS before it has answered: what it says may be lost with the connection.
fn hang_up(text: &str) -> Option<String> {
    let ended = text.contains("Disconnected") || text.contains("Connection reset");
    let unanswered = text.contains("ssl://") && text.contains(" in state APIVERSION_QUERY");
    let said = steady(text);
    let address = address(said).filter(|_| ended && unanswered)?;
    Some(format!(
        "the broker at {address} may not accept the client certificate, or the lack of one; see `tls.certificate`: {said}"
    ))
}

/// The part of a complaint that does not change from attempt to attempt: not "(after 12ms in state CONNECT)".
fn steady(text: &str) -> &str {
    text.split_once(" (after ").map_or(text, |(steady, _)| steady)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_no_lost_connection() {
        let text = "ssl://mq:1/bootstrap: Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: \
                    SSL alert number 42 (after 1ms in state APIVERSION_QUERY)";
        let told = alert(text).expect("about a certificate");
        assert!(
            told.starts_with("the broker at mq:1 refuses the client certificate, ") && told.ends_with("42"),
            "{told}"
        );
        assert_eq!(alert("ssl://mq:1/1: Receive failed: Connection reset by peer (after 1ms in state UP)"), None);
    }

    #[test]
    fn a_connection_that_ends_in_tls_may_be_for_a_certificate() {
        let reset = |scheme: &str, state: &str| {
            hang_up(&format!(
                "{scheme}://mq:1/1: Receive failed: Connection reset by peer (after 1ms in state {state})"
            ))
        };
        let told = reset("sasl_ssl", "APIVERSION_QUERY").expect("it may");
        assert!(told.starts_with("the broker at mq:1 may not accept the client certificate, "), "{told}");
        assert_eq!((reset("ssl", "UP"), reset("sasl_plaintext", "APIVERSION_QUERY")), (None, None));
    }

    #[cfg(feature = "tls")]
    #[tokio::test]
    async fn a_certificate_is_looked_at_with_either_code() {
        let text = "ssl://localhost:1/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 9ms in state SSL_HANDSHAKE)";
        for code in [Code::SSL, Code::BrokerTransportFailure] {
            let link = Link::new("kafka", "in".into(), &Arc::default(), None);
            link.on_error(&KafkaError::Global(code), text);
            assert!(lock(&link.0.handshake).is_some(), "{code:?}");
        }
        let link = Link::new("kafka", "in".into(), &Arc::default(), None);
        let text = "ssl://localhost:1/bootstrap: Disconnected (after 9ms in state SSL_HANDSHAKE)";
        link.on_error(&KafkaError::Global(Code::BrokerTransportFailure), text);
        assert!(lock(&link.0.handshake).is_none());
    }

    #[tokio::test]
    async fn a_silent_broker_is_asked_once_more_before_the_alarm() {
        const SILENT: &[u8] = br#"{"brokers":{"a/1":{"rxidle":60000000}}}"#;
        let (status, shared, patience) = (Status::new(), Arc::default(), Duration::from_millis(200));
        let link = Link::new("kafka", "in".into(), &shared, Some(status.clone()));
        let (answers, mut asked) = (Arc::new(AtomicBool::new(true)), tokio::sync::mpsc::unbounded_channel());
        let answer = Arc::clone(&answers);
        link.probe_with(move || {
            let _ = asked.0.send(());
            Some(answer.load(SeqCst))
        });
        link.tells(patience);
        link.up();
        let falls_silent = async || {
            while status.silence().expect("it tells") <= patience {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            link.on_statistics(SILENT);
        };
        let mut seen = status.watch();
        falls_silent().await;
        asked.1.recv().await.expect("asked");
        while status.silence().expect("it tells") > patience {
            tokio::task::yield_now().await;
        }
        assert!(!seen.has_changed().expect("it lives"), "it has answered: {:?}", status.get());
        answers.store(false, SeqCst);
        falls_silent().await;
        let told = seen.wait_for(|health| *health != BinderHealth::Up).await.expect("it lives").clone();
        assert_eq!(told, BinderHealth::Connecting("no broker has answered for 0 s".to_owned()));
        assert_eq!(shared.health(), told);
        answers.store(true, SeqCst);
        seen.wait_for(|health| *health == BinderHealth::Up).await.expect("it lives");
    }

    #[tokio::test]
    async fn what_a_binding_waits_for_outlasts_a_lost_connection() {
        let (status, shared) = (Status::new(), Arc::default());
        let link = Link::new("kafka", "in".into(), &shared, Some(status.clone()));
        let waiting = BinderHealth::Connecting("a transaction hangs".to_owned());
        link.up();
        link.waits(Some("a transaction hangs"));
        assert_eq!((status.get(), shared.health()), (waiting.clone(), waiting.clone()));
        link.lost("refused".to_owned());
        assert_eq!(status.get(), BinderHealth::Connecting("refused".to_owned()));
        link.worked();
        assert_eq!(status.get(), waiting);
        link.waits(None);
        assert_eq!((status.get(), shared.health()), (BinderHealth::Up, BinderHealth::Up));
        link.lost("refused".to_owned());
        link.waits(Some("a transaction hangs"));
        link.waits(None);
        assert_eq!(status.get(), BinderHealth::Connecting("refused".to_owned()), "nobody has answered");
    }

    #[test]
    fn the_broker_that_answered_last_counts() {
        let silence = |text: &str| serde_json::from_str::<Statistics>(text).expect("valid").silence();
        let two = r#"{"name":"c","brokers":{"a/1":{"rxidle":7000000,"state":"UP"},"b/2":{"rxidle":-1},"c/3":{"rxidle":250}},"topics":{}}"#;
        assert_eq!(silence(two), Some(Duration::from_micros(250)));
        assert_eq!(silence(r#"{"brokers":{"a/1":{"rxidle":-1}}}"#), None);
    }

    #[test]
    fn a_refused_user_is_named() {
        let text = "sasl_ssl://mq:1/bootstrap: SASL authentication error: no such user (after 3ms in state AUTH_REQ)";
        assert_eq!(refusal(text, Some("alice")), "the broker at mq:1 refuses user `alice`: no such user");
        assert_eq!(refusal("odd", Some("alice")), "odd");
    }
}
