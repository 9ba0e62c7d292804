//! For tests: [`TestApplication`] for those of an application, [`suite`] for those of a binder, [`Proxy`] for those of a network.
//!
//! An application under test is the production code on the memory binder, on a paused clock, without sleeps.
//!
//! ```
//! use binder_core::prelude::*;
//! use binder_core::channel::ProcessorBinding;
//! use binder_core::testkit::TestApplication;
//! use binder_core::{ApplicationBuilder, Result};
//!
//! async fn double(number: u32) -> u32 {
//!     number * 2
//! }
//!
//! /// The application, as `main` builds it too.
//! async fn build(builder: ApplicationBuilder) -> Result<Application> {
//!     let app = builder.build()?;
//!     let channels = app.bind::<ProcessorBinding<u32, u32>>().await?;
//!     app.process(channels.input, channels.output, double).await?;
//!     Ok(app)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let test = TestApplication::start(build).await?;
//! test.input("input").send(&21_u32).await?;
//! assert_eq!(test.output::<u32>("output").next().await?, 42);
//! # Ok(())
//! # }
//! ```

mod proxy;
pub mod suite;

pub use proxy::{Network, Proxy, Way};

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::binder::{Binder, ConsumerBinding, Received};
use crate::codec::{Codecs, Decode, Encode};
use crate::memory::MemoryBinder;
use crate::message::{ContentType, Message};
use crate::{Application, ApplicationBuilder, Error, ErrorKind, Result};

/// How long a test waits for a message, on its own clock.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A production application on a memory binder of its own.
///
/// Needs a current-thread runtime, as `#[tokio::test]` makes it.
pub struct TestApplication {
    app: Application,
    memory: MemoryBinder,
    taken: Mutex<HashMap<String, usize>>,
}

/// A choice of clock, to be followed by [`start`](Self::start).
#[derive(Debug)]
pub struct TestBuilder {
    paused: bool,
}

impl TestBuilder {
    /// Builds and starts the application, and waits until its bindings run.
    ///
    /// `build` gets a builder on which every binder is the test's memory binder, whatever the configuration says.
    pub async fn start<F, Fut>(self, build: F) -> Result<TestApplication>
    where
        F: FnOnce(ApplicationBuilder) -> Fut,
        Fut: Future<Output = Result<Application>>,
    {
        if self.paused {
            tokio::time::pause();
        }
        let memory = MemoryBinder::new();
        let app = build(Application::builder().stand_in(memory.clone())).await?;
        app.start().await?;
        app.ready(PATIENCE).await?;
        Ok(TestApplication { app, memory, taken: Mutex::default() })
    }
}

impl TestApplication {
    /// Builds and starts an application on a paused clock: waits such as the backoff of a retry take no time. The clock must not be paused
    /// already.
    pub async fn start<F, Fut>(build: F) -> Result<Self>
    where
        F: FnOnce(ApplicationBuilder) -> Fut,
        Fut: Future<Output = Result<Application>>,
    {
        TestBuilder { paused: true }.start(build).await
    }

    /// Leaves the clock running: for handlers that do I/O. A paused clock jumps to the next timer while a socket waits.
    pub fn real_time() -> TestBuilder {
        TestBuilder { paused: false }
    }

    /// Returns the application.
    pub fn app(&self) -> &Application {
        &self.app
    }

    /// Returns the binder, to look into its destinations.
    pub fn memory(&self) -> &MemoryBinder {
        &self.memory
    }

    /// Returns the sending side of what an input receives.
    pub fn input(&self, channel: &str) -> TestInput<'_> {
        TestInput { test: self, destination: self.destination(channel) }
    }

    /// Returns the receiving side of what an output sends.
    pub fn output<T: Decode>(&self, channel: &str) -> TestOutput<'_, T> {
        TestOutput { test: self, destination: self.destination(channel), payload: PhantomData }
    }

    /// Waits until everything that was sent to inputs with a group is settled.
    pub async fn settled(&self) {
        self.memory.idle().await;
    }

    /// Drains and ends the application.
    pub async fn shutdown(self) -> Result<()> {
        self.app.shutdown().await
    }

    fn destination(&self, channel: &str) -> String {
        let health = self.app.health();
        let Some(binding) = health.bindings.get(channel) else {
            let known: Vec<_> = health.bindings.keys().collect();
            panic!("no channel is called `{channel}`; there are {known:?}");
        };
        binding.destination.split(',').next().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for TestApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestApplication").field("app", &self.app).finish_non_exhaustive()
    }
}

/// Sends to an input of the application under test.
#[derive(Debug)]
pub struct TestInput<'a> {
    test: &'a TestApplication,
    destination: String,
}

impl TestInput<'_> {
    /// Sends a payload as JSON.
    #[allow(clippy::unused_async, reason = "a send is awaited everywhere")]
    pub async fn send<T: Encode>(&self, payload: &T) -> Result<()> {
        let mut bytes = Vec::new();
        payload.encode(&Codecs::new(), &ContentType::JSON, &mut bytes)?;
        self.send_raw(Message::new(bytes.into())).await
    }

    /// Sends a message whose payload is encoded already.
    #[allow(clippy::unused_async, reason = "a send is awaited everywhere")]
    pub async fn send_raw(&self, message: Message<Bytes>) -> Result<()> {
        self.test.memory.publish(&self.destination, message)
    }
}

/// Takes what the application under test has sent to an output.
#[derive(Debug)]
pub struct TestOutput<'a, T> {
    test: &'a TestApplication,
    destination: String,
    payload: PhantomData<fn() -> T>,
}

impl<T: Decode> TestOutput<'_, T> {
    /// Returns the payloads that were sent and not taken yet, without waiting.
    ///
    /// # Panics
    /// If one can't be read as `T`.
    pub fn take(&self) -> Vec<T> {
        let messages = self.take_messages();
        messages.into_iter().filter_map(|message| message.into_payload()).collect()
    }

    /// Returns the messages that were sent and not taken yet, without waiting.
    ///
    /// # Panics
    /// If a payload can't be read as `T`.
    pub fn take_messages(&self) -> Vec<Message<T>> {
        let all = self.test.memory.messages(&self.destination);
        let mut taken = self.test.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken.entry(self.destination.clone()).or_default();
        let fresh = all.into_iter().skip(*taken).map(read).collect::<Vec<_>>();
        *taken += fresh.len();
        fresh
    }

    /// Waits for the next payload that was not taken yet, at most an hour of the test's clock.
    pub async fn next(&self) -> Result<T> {
        let waited = tokio::time::timeout(PATIENCE, self.next_message()).await;
        let message = waited
            .map_err(|_| Error::new(ErrorKind::Timeout, format!("nothing was sent to `{}`", self.destination)))??;
        message.into_payload().ok_or_else(|| Error::new(ErrorKind::Codec, "the message is a tombstone"))
    }

    async fn next_message(&self) -> Result<Message<T>> {
        // An anonymous consumer sees what comes from now on: it tells when to look again.
        let mut arrivals = self.test.memory.bind_consumer(&ConsumerBinding::new(self.destination.as_str())).await?;
        loop {
            if let Some(message) = self.take_one() {
                return Ok(read(message));
            }
            if let Received::Batch(view) = arrivals.recv_many(usize::MAX).await? {
                drop(view);
            }
        }
    }

    fn take_one(&self) -> Option<Message<Bytes>> {
        let mut taken = self.test.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken.entry(self.destination.clone()).or_default();
        let message = self.test.memory.messages(&self.destination).into_iter().nth(*taken)?;
        *taken += 1;
        Some(message)
    }
}

fn read<T: Decode>(message: Message<Bytes>) -> Message<T> {
    let content_type = message.content_type().cloned().unwrap_or(ContentType::JSON);
    message.map(|bytes| match T::decode(&Codecs::new(), &content_type, &bytes) {
        Ok(payload) => payload,
        Err(error) => panic!("the payload is of another type: {error}"),
    })
}
