//! librdkafka's messages become records, records become its headers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers, Message, OwnedHeaders};

use crate::model::{Header, Offset, Record, TopicPartition};

/// The name given to a header whose own name is not UTF-8: the bindings cannot hand it over.
const UNREADABLE_HEADER: &str = "rowcast.unreadable_header";

/// Copies a message out of librdkafka's memory. `last_topic` spares an allocation per record.
pub(super) fn record(message: &BorrowedMessage<'_>, last_topic: &mut Arc<str>) -> Record {
    if **last_topic != *message.topic() {
        *last_topic = Arc::from(message.topic());
    }
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        (0..headers.count())
            .map(|index| {
                // the bindings panic on a name that is not UTF-8: such a record must not end
                // the consumer
                catch_unwind(AssertUnwindSafe(|| headers.try_get(index)))
                    .ok()
                    .flatten()
                    .map_or_else(
                        || Header { name: UNREADABLE_HEADER.to_owned(), value: None },
                        |header| Header {
                            name: header.key.to_owned(),
                            value: header.value.map(Bytes::copy_from_slice),
                        },
                    )
            })
            .collect()
    });
    Record {
        source: TopicPartition { topic: Arc::clone(last_topic), partition: message.partition() },
        offset: Offset(message.offset()),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers,
    }
}

/// Headers as the producer wants them. `None` if a name contains a NUL, which the bindings
/// cannot express.
pub(super) fn headers(headers: &[Header]) -> Option<OwnedHeaders> {
    let mut owned = OwnedHeaders::new_with_capacity(headers.len());
    for header in headers {
        if header.name.contains('\0') {
            return None;
        }
        owned = owned.insert(KafkaHeader { key: &header.name, value: header.value.as_deref() });
    }
    Some(owned)
}
