//! librdkafka's errors become ours, by code and never by text.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::properties::Properties;
use crate::broker::BrokerError;

/// What an error means for what was attempted.
pub(super) fn classify(
    attempted: &'static str,
    error: &KafkaError,
    properties: &Properties,
) -> BrokerError {
    match error {
        KafkaError::AdminOp(code) => classify_code(attempted, *code),
        // without a code: bad settings, refused before anything was sent
        KafkaError::ClientConfig(_, _, name, _) => BrokerError::Refused {
            attempted,
            reason: format!("property `{name}` is refused by librdkafka"),
        },
        KafkaError::ClientCreation(text)
        | KafkaError::Subscription(text)
        | KafkaError::AdminOpCreation(text) => {
            BrokerError::Refused { attempted, reason: properties.redact(text) }
        }
        KafkaError::Nul(_) => {
            BrokerError::Refused { attempted, reason: "a name contains a NUL".to_owned() }
        }
        _ => match error.rdkafka_error_code() {
            Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve) => {
                let reason = format!(
                    "no broker answers at {}; see `source.kafka.bootstrap.servers`",
                    properties.servers()
                );
                BrokerError::Unavailable { attempted, reason }
            }
            Some(code) => classify_code(attempted, code),
            None => BrokerError::Unavailable { attempted, reason: "no answer".to_owned() },
        },
    }
}

/// What an error code means. Unknown codes count as unavailable: the attempt is repeated, nothing
/// is lost, and the code stands in the message.
pub(super) fn classify_code(attempted: &'static str, code: Code) -> BrokerError {
    match code {
        Code::IllegalGeneration | Code::RebalanceInProgress => BrokerError::Rebalancing,
        Code::UnknownMemberId
        | Code::AssignmentLost
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::UnknownGroup
        | Code::BrokerDestroy
        | Code::DestroyBroker
        | Code::State => BrokerError::NotAssigned,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            BrokerError::RecordTooLarge
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::SecurityDisabled
        | Code::InvalidTopic
        | Code::InvalidGroupId
        | Code::InvalidConfig
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidRequest
        | Code::InvalidRequiredAcks
        | Code::InvalidArgument
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::AutoOffsetReset
        | Code::FencedInstanceId
        | Code::UnreleasedInstanceId
        | Code::Fenced => BrokerError::Refused { attempted, reason: explain(code) },
        _ => BrokerError::Unavailable { attempted, reason: explain(code) },
    }
}

/// The code's name with librdkafka's fixed description of it, never the broker's free text.
fn explain(code: Code) -> String {
    let advice = match code {
        Code::FencedInstanceId | Code::UnreleasedInstanceId => {
            "; another process uses the same group.instance.id: give each its own and restart"
        }
        Code::AutoOffsetReset => "; the committed offset is gone and auto.offset.reset is `error`",
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            "; it is read as soon as it is created"
        }
        _ => "",
    };
    format!("{code}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    #[test]
    fn codes_are_sorted_by_what_the_runtime_does() {
        for (code, class) in [
            (Code::AllBrokersDown, ErrorClass::Retriable),
            (Code::UnknownTopicOrPartition, ErrorClass::Retriable),
            (Code::MessageTimedOut, ErrorClass::Retriable),
            (Code::NotEnoughReplicas, ErrorClass::Retriable),
            (Code::RebalanceInProgress, ErrorClass::Retriable),
            (Code::Authentication, ErrorClass::Fatal),
            (Code::GroupAuthorizationFailed, ErrorClass::Fatal),
            (Code::SSL, ErrorClass::Fatal),
            (Code::MessageSizeTooLarge, ErrorClass::Poison),
        ] {
            assert_eq!(classify_code("testing", code).class(), class, "{code:?}");
        }
    }

    #[test]
    fn a_fenced_member_has_lost_its_partition() {
        for code in [Code::UnknownMemberId, Code::AssignmentLost, Code::FencedMemberEpoch] {
            assert!(matches!(classify_code("committing", code), BrokerError::NotAssigned));
        }
    }

    #[test]
    fn a_rebalance_refuses_commits_only_for_a_while() {
        for code in [Code::IllegalGeneration, Code::RebalanceInProgress] {
            assert!(matches!(classify_code("committing", code), BrokerError::Rebalancing));
        }
    }
}
