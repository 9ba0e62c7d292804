//! One connection to the broker, made anew when it is lost.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use binder_core::binder::BinderHealth;
use binder_core::{Error, ErrorKind, Result};
use futures::{AsyncRead, AsyncWrite, StreamExt};
use lapin::options::BasicQosOptions;
use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Event};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{RabbitProperties, address};
use crate::error;
use crate::poll::lock;
use crate::version;

/// A failed attempt is not repeated sooner, however many ask: they get its error.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// How often the broker is asked for an answer, or twice in a heartbeat.
const ASKS_EVERY: Duration = Duration::from_secs(5);

/// How long the broker may answer nothing before the inputs are connecting. A heartbeat may find out sooner, and ends the connection.
const SILENCE: Duration = Duration::from_secs(15);

/// The frame size that RabbitMQ offers unless told otherwise.
const USUAL_FRAME_MAX: u32 = 131_072;

/// One of the binder's two connections. Everyone who needs a channel asks here; the first who asks connects, the others wait for it.
pub(crate) struct Link {
    binder: Arc<str>,
    role: &'static str,
    settings: Arc<RabbitProperties>,
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
    closed: AtomicBool,
    frame_max: AtomicU32,
    /// Which node of a cluster was reached last.
    node: AtomicUsize,
    /// When the broker answered last, over this connection or one before.
    heard: Arc<Mutex<Option<Instant>>>,
    /// Whether that is too long ago.
    silent: watch::Sender<bool>,
}

/// Asks the broker for a small answer all the time. Ends with the connection it belongs to.
struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Known {
    live: Option<Arc<Live>>,
    failure: Option<Failure>,
}

struct Failure {
    at: Instant,
    kind: ErrorKind,
    message: String,
}

/// A connection that was made.
pub(crate) struct Live {
    connection: Connection,
    gone: watch::Receiver<Option<String>>,
    blocked: watch::Receiver<Option<String>>,
    /// The first number of the broker's version, if somebody has asked for it.
    major: OnceCell<Option<u32>>,
    /// The node that was reached.
    uri: AMQPUri,
    settings: Arc<RabbitProperties>,
    _listening: Option<Listening>,
}

/// Says that a broker does not answer, to people.
pub(crate) fn unheard() -> String {
    format!("the broker has not answered for {} s", SILENCE.as_secs())
}

/// What a broker in need says, told to people.
pub(crate) fn held_back(reason: &str) -> String {
    format!("the broker holds back publishers: {reason}")
}

impl Live {
    /// Returns the first number of the broker's version, if it can be had. Asks once.
    ///
    /// # Errors
    /// If the broker does not answer: what depends on its version must not be decided without it.
    pub(crate) async fn broker_major(&self) -> Result<Option<u32>> {
        let ask = async || {
            let asked = timeout(self.settings.connect_timeout, greet(&self.uri, &self.settings)).await;
            asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|cause| {
                let text = format!("the broker did not say its version: {cause}");
                Error::new(ErrorKind::Connection, text).with_source(cause).retryable()
            })
        };
        self.major.get_or_try_init(ask).await.copied()
    }

    /// Opens a channel.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        self.connection.create_channel().await.map_err(error::lost)
    }

    /// Waits until the connection is lost and returns why.
    pub(crate) fn lost(&self) -> impl Future<Output = String> + Send + use<> {
        let mut gone = self.gone.clone();
        async move {
            let reason = gone.wait_for(Option::is_some).await.map(|reason| reason.clone());
            reason.ok().flatten().unwrap_or_else(|| "the connection was closed".to_owned())
        }
    }

    /// Follows whether the broker holds back publishers, and why.
    pub(crate) fn blocked(&self) -> watch::Receiver<Option<String>> {
        self.blocked.clone()
    }

    /// A broker that holds back publishers takes nothing, until it does again.
    fn health(&self) -> BinderHealth {
        match &*self.blocked.borrow() {
            Some(reason) => BinderHealth::Connecting(held_back(reason)),
            None => BinderHealth::Up,
        }
    }

    fn usable(&self) -> bool {
        self.connection.status().connected() && self.gone.borrow().is_none()
    }
}

impl Link {
    pub(crate) fn new(binder: Arc<str>, role: &'static str, settings: Arc<RabbitProperties>) -> Self {
        Self {
            binder,
            role,
            settings,
            turn: tokio::sync::Mutex::new(()),
            known: Mutex::new(Known { live: None, failure: None }),
            closed: AtomicBool::new(false),
            frame_max: AtomicU32::new(USUAL_FRAME_MAX),
            node: AtomicUsize::new(0),
            heard: Arc::default(),
            silent: watch::Sender::new(false),
        }
    }

    /// Returns the name of the entry of `binders`.
    pub(crate) fn binder(&self) -> &str {
        &self.binder
    }

    pub(crate) fn settings(&self) -> &RabbitProperties {
        &self.settings
    }

    /// Returns how large a frame may be.
    pub(crate) fn frame_max(&self) -> usize {
        self.frame_max.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Returns the connection; makes it if there is none.
    pub(crate) async fn get(&self) -> Result<Arc<Live>> {
        if let Some(live) = self.current()? {
            return Ok(live);
        }
        let _turn = self.turn.lock().await;
        if let Some(live) = self.current()? {
            return Ok(live);
        }
        if let Some(failure) = self.recent_failure() {
            return Err(failure);
        }
        match self.connect().await {
            Ok(live) => self.keep(live).await,
            Err(error) => {
                let (at, kind, message) = (Instant::now(), error.kind(), error.message().to_owned());
                lock(&self.known).failure = Some(Failure { at, kind, message });
                Err(error)
            }
        }
    }

    async fn keep(&self, live: Arc<Live>) -> Result<Arc<Live>> {
        {
            let mut known = lock(&self.known);
            known.failure = None;
            known.live = Some(Arc::clone(&live));
        }
        if self.is_closed() {
            self.close().await;
            return Err(error::closed());
        }
        Ok(live)
    }

    /// Returns whether there is a connection, or nothing if none was ever wanted; never waits.
    pub(crate) fn health(&self) -> Option<BinderHealth> {
        let known = lock(&self.known);
        Some(match (&known.live, &known.failure) {
            (Some(live), _) if live.usable() && *self.silent.borrow() => BinderHealth::Connecting(unheard()),
            (Some(live), _) if live.usable() => live.health(),
            (_, Some(failure)) => BinderHealth::Connecting(failure.message.clone()),
            (Some(live), None) => {
                let reason = live.gone.borrow().clone();
                BinderHealth::Connecting(reason.unwrap_or_else(|| "the connection was lost".to_owned()))
            }
            (None, None) => return None,
        })
    }

    /// Closes the connection; there will be no other.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let live = lock(&self.known).live.take();
        if let Some(live) = live.filter(|live| live.usable()) {
            let closing = live.connection.close(200, "closed".into());
            if timeout(self.settings.connect_timeout, closing).await.is_err() {
                tracing::warn!(binder = %self.binder, role = self.role, "the broker did not answer the close");
            }
        }
    }

    fn current(&self) -> Result<Option<Arc<Live>>> {
        if self.is_closed() {
            return Err(error::closed());
        }
        Ok(lock(&self.known).live.clone().filter(|live| live.usable()))
    }

    fn recent_failure(&self) -> Option<Error> {
        let known = lock(&self.known);
        let failure = known.failure.as_ref().filter(|failure| failure.at.elapsed() < PAUSE_AFTER_FAILURE)?;
        Some(Error::new(failure.kind, failure.message.clone()).retryable())
    }

    /// Tries the nodes in turn, the one that was reached last first.
    async fn connect(&self) -> Result<Arc<Live>> {
        let uris = self.settings.url.uris();
        let first = self.node.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for index in (first..first + uris.len()).map(|index| index % uris.len()) {
            match self.connect_to(&uris[index]).await {
                Ok(live) => {
                    self.node.store(index, Ordering::Relaxed);
                    return Ok(Arc::new(live));
                }
                Err(failure) => failures.push(failure),
            }
        }
        Err(error::all(failures))
    }

    async fn connect_to(&self, uri: &AMQPUri) -> Result<Live> {
        let limit = self.settings.connect_timeout;
        let connecting = timeout(limit * 2, self.open_connection(uri, limit)).await;
        let connection = match connecting {
            Ok(connection) => connection.map_err(|cause| error::connect(uri, cause))?,
            Err(_) => return Err(unanswered(uri, limit * 2)),
        };
        let frame_max = connection.configuration().frame_max();
        self.frame_max.store(frame_max, Ordering::Relaxed);
        tracing::info!(binder = %self.binder, role = self.role, broker = address(uri), "connected");
        let listening = match self.role {
            // a broker that is low on memory reads nothing from who publishes
            "publish" => None,
            _ => {
                let listening = timeout(limit, self.listen(&connection)).await;
                Some(listening.unwrap_or_else(|_| Err(unanswered(uri, limit)))?)
            }
        };
        Ok(self.watched(connection, uri.clone(), listening))
    }

    /// Notes at each answer when the broker has given it. The client keeps the times of its frames to itself.
    async fn listen(&self, connection: &Connection) -> Result<Listening> {
        let channel = connection.create_channel().await.map_err(error::lost)?;
        let (heard, heartbeat) = (Arc::clone(&self.heard), self.settings.heartbeat);
        let pause = if heartbeat.is_zero() { ASKS_EVERY } else { (heartbeat / 2).min(ASKS_EVERY) };
        let silent = self.silent.clone();
        let note = move || {
            *lock(&heard) = Some(Instant::now());
            silent.send_if_modified(std::mem::take);
        };
        note();
        let silent = self.silent.clone();
        Ok(Listening(tokio::spawn(async move {
            loop {
                let mut answer = std::pin::pin!(channel.basic_qos(0, BasicQosOptions::default()));
                let answer = match timeout(SILENCE - pause, &mut answer).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        silent.send_replace(true);
                        answer.await
                    }
                };
                if answer.is_err() {
                    return;
                }
                note();
                tokio::time::sleep(pause).await;
            }
        })))
    }

    /// Follows whether the broker has not answered for too long.
    pub(crate) fn silent(&self) -> watch::Receiver<bool> {
        self.silent.subscribe()
    }

    /// Returns what says how long ago the broker answered last; it does not keep the connection.
    pub(crate) fn silence(&self) -> impl Fn() -> Option<Duration> + Send + Sync + use<> {
        let heard = Arc::clone(&self.heard);
        move || lock(&heard).map(|at| at.elapsed())
    }

    async fn open_connection(&self, uri: &AMQPUri, limit: Duration) -> lapin::Result<Connection> {
        let name = self.settings.connection_name.as_deref().unwrap_or(&self.binder);
        let properties = ConnectionProperties::default().with_connection_name(format!("{name}.{}", self.role).into());
        let mut uri = uri.clone();
        let seconds = self.settings.heartbeat.as_millis().div_ceil(1000);
        uri.query.heartbeat = Some(u16::try_from(seconds).unwrap_or(u16::MAX));
        let runtime = lapin::runtime::default_runtime()?;
        let settings = Arc::clone(&self.settings);
        let connect = async move |uri: AMQPUri, runtime| {
            let connecting = async {
                let stream =
                    AMQPUriTcpExt::connect_with_config_async(&plain(&uri), TLSConfig::default(), &runtime).await?;
                secured(stream, &uri, &settings).await
            };
            match timeout(limit, connecting).await {
                Ok(stream) => stream.map_err(lapin::Error::from),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")).into()),
            }
        };
        Connection::connector(uri, runtime, connect, properties).await
    }

    fn watched(&self, connection: Connection, uri: AMQPUri, listening: Option<Listening>) -> Live {
        let (gone_in, gone) = watch::channel(None);
        let (blocked_in, blocked) = watch::channel(None);
        let status = connection.status().clone();
        let mut events = Box::pin(connection.events_listener());
        let (binder, role) = (Arc::clone(&self.binder), self.role);
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::Error(cause) if !status.connected() => {
                        let reason = error::text(&cause);
                        tracing::warn!(%binder, role, reason, "the connection to the broker was lost");
                        gone_in.send_replace(Some(format!("the connection was lost: {reason}")));
                        return;
                    }
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(%binder, role, reason, "the broker holds back publishers");
                        blocked_in.send_replace(Some(reason));
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!(%binder, role, "the broker takes messages again");
                        blocked_in.send_replace(None);
                    }
                    _ => {}
                }
            }
            gone_in.send_replace(Some("the connection was closed".to_owned()));
        });
        Live {
            connection,
            gone,
            blocked,
            major: OnceCell::new(),
            uri,
            settings: Arc::clone(&self.settings),
            _listening: listening,
        }
    }
}

fn unanswered(uri: &AMQPUri, limit: Duration) -> Error {
    let message = format!("no answer from the broker at {} within {limit:?}", address(uri));
    Error::new(ErrorKind::Connection, message).retryable()
}

fn plain(uri: &AMQPUri) -> AMQPUri {
    AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() }
}

/// Speaks TLS from here on, if the broker is to be spoken to so.
#[cfg(feature = "tls")]
async fn secured<S>(
    stream: AsyncTcpStream<S>,
    uri: &AMQPUri,
    settings: &RabbitProperties,
) -> io::Result<AsyncTcpStream<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match crate::tls::connector(settings).map_err(io::Error::other)? {
        Some(tls) => stream.into_rustls(&tls, uri.authority.host.trim_matches(['[', ']'])).await,
        None => Ok(stream),
    }
}

#[cfg(not(feature = "tls"))]
async fn secured<S>(stream: AsyncTcpStream<S>, _: &AMQPUri, _: &RabbitProperties) -> io::Result<AsyncTcpStream<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Ok(stream)
}

/// Asks the broker, over a connection of its own, which version it is.
async fn greet(uri: &AMQPUri, settings: &RabbitProperties) -> io::Result<Option<u32>> {
    let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
    let stream = AMQPUriTcpExt::connect_with_config_async(&plain(uri), TLSConfig::default(), &runtime).await?;
    version::major(Box::pin(secured(stream, uri, settings).await?)).await
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("binder", &self.binder).field("role", &self.role).finish_non_exhaustive()
    }
}
