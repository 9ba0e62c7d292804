//! RabbitMQ before and after a measurement, with lapin alone.

use std::collections::VecDeque;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::WINDOW;
use super::change::Change;
use super::job::{Case, Job};

async fn connect(job: &Job) -> (Connection, Channel) {
    let connection = Connection::connect(&job.url, ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

/// Nothing that is measured hangs on it.
async fn close(connection: Connection) {
    if let Err(cause) = connection.close(200, "done".into()).await {
        eprintln!("not closed: {cause}");
    }
}

/// Declares a durable classic queue.
pub async fn declare(job: &Job) {
    let (connection, channel) = connect(job).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(job.place.as_str().into(), options, FieldTable::default()).await.expect("declared");
    close(connection).await;
}

/// Puts messages there.
pub async fn fill(job: &Job, changes: impl Iterator<Item = &'static Change>) {
    let (connection, channel) = connect(job).await;
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    let mut waiting = VecDeque::with_capacity(WINDOW);
    for change in changes {
        if waiting.len() == WINDOW {
            confirmed(waiting.pop_front().expect("a full window")).await;
        }
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let (options, payload) = (BasicPublishOptions::default(), change.json());
        let sent = channel.basic_publish("".into(), job.place.as_str().into(), options, &payload, properties).await;
        waiting.push_back(sent.expect("sent"));
    }
    for confirm in waiting {
        confirmed(confirm).await;
    }
    close(connection).await;
}

async fn confirmed(confirm: lapin::PublisherConfirm) {
    assert!(confirm.await.expect("an answer").is_ack(), "refused");
}

/// Deletes the queue, and tells what is still in it: a consumer was to settle everything.
pub async fn remove(job: &Job) {
    let (connection, channel) = connect(job).await;
    match channel.queue_delete(job.place.as_str().into(), QueueDeleteOptions::default()).await {
        Ok(left) if left > 0 && job.case != Case::Publish => eprintln!("{left} messages were not settled"),
        Ok(_) => {}
        Err(cause) => eprintln!("{} is left: {cause}", job.place),
    }
    close(connection).await;
}
