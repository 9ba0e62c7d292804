//! From errors of the client to ours.

use binder_core::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::config::is_secret;

/// Maps an error of the client; `reason` is why the broker is not reached, if it isn't.
#[cold]
pub(crate) fn from_kafka(cause: KafkaError, reason: Option<&str>) -> Error {
    if let KafkaError::ClientConfig(_, text, key, _) = &cause {
        return invalid_setting(key, text);
    }
    let Some(code) = cause.rdkafka_error_code() else {
        return Error::new(ErrorKind::Unexpected, "the Kafka client failed").with_source(cause);
    };
    from_code(code, reason).with_source(cause)
}

/// Maps a code of librdkafka or of the broker.
pub(crate) fn from_code(code: Code, reason: Option<&str>) -> Error {
    let (kind, retryable, text) = classify(code);
    let error = match reason {
        Some(reason) if matches!(kind, ErrorKind::Connection | ErrorKind::Timeout) => {
            Error::new(kind, format!("{text}: {reason}"))
        }
        _ => Error::new(kind, text),
    };
    if retryable { error.retryable() } else { error }
}

fn classify(code: Code) -> (ErrorKind, bool, &'static str) {
    use ErrorKind::{Closed, Connection, Refused, Timeout, TooLarge, Unexpected};
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            (TooLarge, false, "the message is larger than the broker accepts; see the topic's `max.message.bytes`")
        }
        Code::MessageTimedOut | Code::RequestTimedOut | Code::OperationTimedOut | Code::TimedOutQueue => {
            (Timeout, true, "the broker did not answer in time")
        }
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::SSL
        | Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::WaitingForCoordinator
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::NotController => (Connection, true, "the broker is not reached"),
        Code::TopicAuthorizationFailed => (Refused, false, "access to the topic was denied"),
        Code::GroupAuthorizationFailed => (Refused, false, "access to the consumer group was denied"),
        Code::TransactionalIdAuthorizationFailed => {
            (Refused, false, "the `transactional.id` was denied; see `transactional-id-prefix`")
        }
        Code::ClusterAuthorizationFailed => (Refused, false, "access to the cluster was denied"),
        Code::UnknownTopic | Code::UnknownTopicOrPartition => (Refused, false, "the topic does not exist"),
        Code::UnknownPartition => (Refused, false, "the partition does not exist"),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend | Code::ISRInsufficient => {
            (Refused, true, "too few replicas are in sync")
        }
        Code::LeaderNotAvailable | Code::NotLeaderForPartition | Code::ReplicaNotAvailable => {
            (Connection, true, "the partition has no leader at the moment")
        }
        Code::ConcurrentTransactions => (Timeout, true, "the broker is still at the transaction before"),
        Code::QueueFull => (Refused, true, "the client's send buffer is full"),
        Code::ThrottlingQuotaExceeded => (Refused, true, "a quota is used up"),
        // a broker that starts or stops has none beside it, and is not counted itself
        Code::InvalidReplicationFactor => (Refused, true, "fewer brokers are up than the topic is to have replicas"),
        Code::PolicyViolation | Code::InvalidConfig | Code::InvalidPartitions => {
            (Refused, false, "the broker's rules do not allow this topic")
        }
        Code::InvalidRecord | Code::InvalidTimestamp | Code::InvalidMessage => {
            (Refused, false, "the broker refused the record")
        }
        Code::PurgeQueue | Code::PurgeInflight => {
            (Closed, false, "the output was closed before the broker had answered")
        }
        Code::FencedInstanceId => (Refused, false, "another member has taken this `group-instance-id`"),
        // with `group-protocol: consumer`, until the session of a member that did not say goodbye has timed out
        Code::UnreleasedInstanceId => (Connection, true, "a member with this `group-instance-id` is still there"),
        Code::Fatal | Code::Fenced | Code::ProducerFenced => (Unexpected, false, "the Kafka client gave up"),
        _ => (Unexpected, false, "the Kafka client failed"),
    }
}

/// The client's own text repeats the value, which may be a secret.
fn invalid_setting(key: &str, text: &str) -> Error {
    let why = if is_secret(key) { "the value is not accepted" } else { text };
    Error::new(ErrorKind::Config, format!("`configuration`: `{key}`: {why}"))
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaConfRes;

    use super::*;

    #[test]
    fn a_timeout_says_why_the_broker_is_not_reached() {
        let error =
            from_kafka(KafkaError::MessageProduction(Code::MessageTimedOut), Some("Failed to resolve 'nohost:9092'"));
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "the broker did not answer in time: Failed to resolve 'nohost:9092'");
    }

    #[test]
    fn what_a_starting_broker_says_is_tried_again() {
        for code in [Code::ConcurrentTransactions, Code::InvalidReplicationFactor, Code::CoordinatorLoadInProgress] {
            assert!(from_code(code, None).is_retryable(), "{code:?}");
        }
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        let (key, text) = ("ssl.key.password".to_owned(), "Invalid value \"hunter2\"".to_owned());
        let unknown = RDKafkaConfRes::RD_KAFKA_CONF_INVALID;
        let error = from_kafka(KafkaError::ClientConfig(unknown, text, key, "hunter2".to_owned()), None);
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
