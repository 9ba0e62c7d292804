//! Transactions, as the application sees them.
//!
//! What is sent within one is encoded at once and kept; nothing goes to the broker before it is known that the work has succeeded. So a failure
//! aborts nothing, and callers that know nothing of each other can share a transaction of the broker.

mod buffer;
mod collected;
mod consumed;
mod ledger;
mod shared;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::application::{Application, lock};
use crate::channel::Output;
use crate::codec::Encode;
use crate::handler::{DeliveryRef, FromDelivery, HandlerError};
use crate::message::Message;
use crate::{Error, ErrorKind, Result};
pub(crate) use buffer::{Buffer, Part};
pub(crate) use collected::Collected;
pub(super) use consumed::run_of;
pub(super) use ledger::Ledger;
pub(super) use shared::Publishers;

thread_local! {
    /// The transaction of the call that is being made.
    static CURRENT: RefCell<Option<Transaction>> = const { RefCell::new(None) };
}

/// Messages that are published together or not at all. Clones are the same transaction.
///
/// [`Application::transaction`] begins one. A handler of an input that is `transactional` takes one as an argument: what it sends through it is
/// published with what it returns, and when the message is settled; if the handler fails, nothing of it is. All outputs in a transaction
/// belong to one binder.
#[derive(Clone)]
pub struct Transaction(Arc<Buffer>);

impl Transaction {
    pub(super) fn new(binder: Option<Arc<str>>) -> Self {
        Self(Arc::new(Buffer::new(binder)))
    }

    /// Makes a call that may ask for this transaction.
    pub(super) fn within<R>(&self, call: impl FnOnce() -> R) -> R {
        /// Ends it, also after a panic.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                CURRENT.set(None);
            }
        }
        CURRENT.set(Some(self.clone()));
        let _end = End;
        call()
    }

    /// Returns the transaction of the call that is being made.
    pub(super) fn current() -> Result<Self> {
        let current = CURRENT.with_borrow(Clone::clone);
        current.ok_or_else(|| Error::new(ErrorKind::Config, "a `Transaction` needs `consumer.transactional: true`"))
    }

    /// Adds a payload. It is encoded, and goes to the broker with all others when the transaction is committed.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if the output's binder has no transactions (RabbitMQ); [`Config`](ErrorKind::Config) if it is
    /// not the binder of the outputs before; [`Closed`](ErrorKind::Closed) if the transaction is over; what [`Output::send`] fails with before it
    /// reaches the broker.
    pub async fn send<T: Encode>(&self, output: &Output<T>, payload: &T) -> Result<()> {
        output.add_payload(&self.0, payload).await
    }

    /// Adds a message with key, headers or partition of its own, as [`send`](Self::send) does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_message<T: Encode>(&self, output: &Output<T>, message: Message<T>) -> Result<()> {
        output.add_message(&self.0, &message).await
    }

    /// Ends the transaction and returns what is in it.
    pub(super) fn end(&self) -> Vec<Part> {
        self.0.end()
    }
}

impl<S> FromDelivery<S> for Transaction {
    const NEEDS_TRANSACTION: bool = true;

    fn from_delivery(_: &DeliveryRef<'_>, _: &S) -> Result<Self> {
        Self::current()
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transaction").field(&self.0).finish()
    }
}

impl Application {
    /// Publishes what `work` sends through its transaction, all of it or nothing, and returns what `work` returns.
    ///
    /// What is sent is kept until `work` has ended. If that failed, nothing is published. A transaction of the broker costs some milliseconds,
    /// so concurrent callers share one: it is committed for all of them or for none, but one who fails does not concern the others. What is
    /// sent by other means, such as `Output::send`, is not in it.
    ///
    /// ```
    /// use binder_core::prelude::*;
    /// use binder_core::channel::SourceBinding;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> binder_core::Result<()> {
    /// let app = Application::builder().build()?;
    /// let channels = app.bind::<SourceBinding<String>>().await?;
    /// app.transaction(async |tx| {
    ///     tx.send(&channels.output, &"reserved".to_owned()).await?;
    ///     tx.send(&channels.output, &"paid".to_owned()).await?;
    ///     Ok(())
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `work` failed with; else why nothing was published. After a [`Timeout`](ErrorKind::Timeout) the broker may have it. A broker that is
    /// away is waited for, as long as the longest `send-timeout` of the outputs.
    ///
    /// # Cancel safety
    /// While `work` runs, dropping the future publishes nothing; afterwards it leaves open whether the transaction is published.
    pub async fn transaction<F, Fut, R>(&self, work: F) -> Result<R>
    where
        F: FnOnce(Transaction) -> Fut + Send,
        Fut: Future<Output = Result<R, HandlerError>> + Send,
        R: Send,
    {
        let transaction = Transaction::new(None);
        let done = work(transaction.clone()).await;
        let parts = transaction.end();
        let value = done.map_err(|failure| {
            failure.into_error().unwrap_or_else(|| Error::new(ErrorKind::Handler, "the work asked to be done again"))
        })?;
        if !parts.is_empty() {
            self.publish(parts).await?;
        }
        Ok(value)
    }

    /// Publishes, together with what others publish at the same time.
    async fn publish(&self, parts: Vec<Part>) -> Result<()> {
        let published = lock(&self.0.publishers).publish(parts);
        published.await
    }
}
