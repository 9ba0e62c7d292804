//! Giving an input its handler.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::application::Application;
use super::inherit::Inherited;
use super::layer::HandlerCall;
use super::transaction::Transaction;
use crate::channel::{Input, Output};
use crate::codec::{Decode, Encode};
use crate::handler::{Delivery, DeliveryRef, Handler, HandlerError, IntoOutcome, IntoReplies, Verdict};
use crate::message::Message;
use crate::{Error, ErrorKind, Result};

impl Application {
    /// Handles what arrives on an input. Starts with the application, or at once if that has started.
    ///
    /// A delivery is settled after its handler has succeeded or its dead letter is confirmed, never before.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the input is handled already.
    #[allow(clippy::unused_async, reason = "spawns tasks, so it belongs into a runtime")]
    pub async fn handle<T, A, H>(&self, input: Input<T>, handler: H) -> Result<()>
    where
        T: Decode,
        H: Handler<T, A>,
        H::Output: IntoOutcome,
    {
        input.entry().check_transaction(handler.needs_transaction())?;
        let handler = Arc::new(handler);
        let decoder = input.entry().decoder();
        self.run(&input, move |delivery: &DeliveryRef<'_>| {
            let payload = decoder.decode::<T>(delivery)?;
            let call = handler.call(payload, delivery, &())?;
            Ok(Answer { call })
        })
    }

    /// Handles what arrives on an input and publishes what the handler returns. The delivery is settled after the broker has confirmed
    /// all that was published.
    ///
    /// What is published inherits the correlation and trace headers of the message, and those that `copy-headers` of the output names; a
    /// returned [`Message`] keeps its own headers of the same name.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the input is handled already.
    #[allow(clippy::unused_async, reason = "spawns tasks, so it belongs into a runtime")]
    pub async fn process<T, U, A, M, H>(&self, input: Input<T>, output: Output<U>, handler: H) -> Result<()>
    where
        T: Decode,
        U: Encode + Send,
        H: Handler<T, A>,
        H::Output: IntoReplies<U, M>,
    {
        input.entry().check_transaction(handler.needs_transaction())?;
        let handler = Arc::new(handler);
        let decoder = input.entry().decoder();
        let inherited = Inherited::new(&output.core().binding.properties.copy_headers);
        let output = Arc::new(output);
        if input.entry().binding.properties.transactional {
            check_one_binder(&input, &output)?;
            return self.run(&input, move |delivery: &DeliveryRef<'_>| {
                let payload = decoder.decode::<T>(delivery)?;
                let (headers, transaction) = (inherited.of(delivery), Transaction::current()?);
                let call = handler.call(payload, delivery, &())?;
                let output = Arc::clone(&output);
                Ok(async move {
                    for reply in call.await.into_replies()? {
                        transaction.send_message(&output, headers.clone().onto(reply)).await?;
                    }
                    Ok(())
                })
            });
        }
        self.run(&input, move |delivery: &DeliveryRef<'_>| {
            let payload = decoder.decode::<T>(delivery)?;
            let headers = inherited.of(delivery);
            let call = handler.call(payload, delivery, &())?;
            let output = Arc::clone(&output);
            Ok(async move {
                let replies = call.await.into_replies()?;
                publish(&output, replies.into_iter().map(|reply| headers.clone().onto(reply))).await
            })
        })
    }

    /// Gives an input what is done with its deliveries, layers around it, and starts it if the application runs.
    pub(super) fn run<T, F, Fut>(&self, input: &Input<T>, invoke: F) -> Result<()>
    where
        F: Fn(&DeliveryRef<'_>) -> Result<Fut, Error> + Clone + Send + Sync + 'static,
        Fut: Future<Output = Verdict> + Send + 'static,
    {
        let (entry, layers) = (input.entry(), input.layers().clone());
        if entry.is_handled() {
            let message = format!("the input `{}` is handled already", entry.binding.channel);
            return Err(Error::new(ErrorKind::Config, message));
        }
        if layers.is_empty() {
            entry.set_run(invoke);
        } else {
            entry.set_run(move |delivery: &DeliveryRef<'_>| {
                let call = HandlerCall { delivery: Delivery::of(delivery), headers: delivery.headers() };
                let handler = invoke(delivery)?;
                Ok(layers.clone().handle(call, Box::pin(handler)))
            });
        }
        if self.is_started() && entry.auto_startup {
            entry.start();
        }
        Ok(())
    }
}

pin_project! {
    /// A handler's call, answering with its outcome. An `async` block would copy the call once more, for each message.
    struct Answer<C> {
        #[pin]
        call: C,
    }
}

impl<C: Future<Output: IntoOutcome>> Future for Answer<C> {
    type Output = Verdict;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        self.project().call.poll(context).map(IntoOutcome::into_outcome)
    }
}

/// Refuses an output that can't be part of the input's transactions.
fn check_one_binder<T, U>(input: &Input<T>, output: &Output<U>) -> Result<()> {
    let (own, other) = (&input.entry().binder_name, &output.core().binder_name);
    if own == other {
        return Ok(());
    }
    let (input, output) = (&input.entry().binding.channel, &output.core().binding.channel);
    let text = format!(
        "`{output}` is on the binder `{other}`, and the transactions of `{input}` are on `{own}`; a transaction has one binder"
    );
    Err(Error::new(ErrorKind::Config, text).with_context("binding", &**input))
}

async fn publish<U: Encode + Send>(
    output: &Output<U>,
    mut replies: impl ExactSizeIterator<Item = Message<U>> + Send,
) -> Result<(), HandlerError> {
    if replies.len() == 1 {
        return match replies.next() {
            Some(reply) => Ok(output.send_message(reply).await?),
            None => Ok(()),
        };
    }
    output.send_all_messages(replies).await.map_err(|error| HandlerError::from(Error::from(error)))
}
