//! The contract for binder authors.
//!
//! A binder owns names on the broker, provisioning, connection, reconnect, confirms, settlement and pause. Codecs, handlers,
//! lanes, retry, dead letters and drain are core's: a binder gets them without writing a line.
//!
//! The path of a message is batch-shaped: what is called per message neither allocates nor locks, what is called per batch may.

mod consumer;
mod contract;
mod dead_letter_store;
mod delay;
pub(crate) mod outgoing;
mod parcel;
mod producer;
mod receipts;
mod seek;
mod status;
mod transactions;

pub use consumer::{Assignment, BatchView, Consumer, LaneId, Metadata, Native, Received, Token};
pub use contract::{
    Binder, BinderContext, BinderFactory, Capability, ConsumerBinding, Instance, ProducerBinding, Seek, SharedBinder,
};
pub use dead_letter_store::{
    ATTEMPTS, DeadLetterDetails, DeadLetterEntry, DeadLetterPass, DeadLetterSource, DeadLetterStore, Disposal, Purpose,
    REDRIVE_COUNT,
};
pub use delay::{Delay, DelaySink, RETRY_ATTEMPT};
pub use outgoing::{Envelope, Outgoing, OutgoingBatch};
pub use parcel::Parcel;
pub use producer::{DeadLetter, DeadLetterSink, Producer, TrySend};
pub use receipts::{BatchFailures, Receipt, Receipts, Slot};
pub use seek::SeekTo;
pub use status::{BinderHealth, Status};
pub use transactions::{CommitError, ConsumerTransaction, TransactionPart, Transactions, Transactor};
