//! What was seen where a known format was expected.
//!
//! Structure only: in an unknown format even the names of members may be data.

use std::fmt;

use super::SchemaFault;

/// What was seen where a known format was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Confluent's magic byte 0: binary with a schema id.
    SchemaRegistryFrame,
    /// A schema's name of the wrong length, before the value or in its header.
    SchemaFrame,
    /// A value without the name of a schema, where Avro was expected.
    NoAvro,
    /// A value that names a schema of a registry, and no registry to ask.
    NoRegistry,
    /// A schema that the registry does not know.
    UnknownSchema,
    /// A schema that no file holds.
    UnknownFingerprint,
    /// A schema that cannot be used.
    UnusableSchema(SchemaFault),
    /// A record without a field that the settings name.
    NoAvroField,
    /// A field that the settings name, of a type that says nothing.
    AvroFieldType,
    /// A field for the operation that names none.
    AvroOperation,
    /// XML.
    Xml,
    /// JSON, but no object.
    NoObject(&'static str),
    /// An object without the members that tell the formats.
    NoKnownMember,
    /// An object with the members of two formats.
    TwoFormats(&'static str, &'static str),
    /// HAPI's envelope without `operationType`, or with one that is no single change.
    HapiOperation,
    /// HAPI's envelope with a `payload` that is not JSON text.
    HapiPayload(&'static str),
    /// LinuxForHealth's event with an operation that it does not have.
    LinuxForHealthOperation,
    /// LinuxForHealth's event with a resource that is no object.
    LinuxForHealthResource(&'static str),
    /// No bundle of the type that the format is about.
    NoBundle(&'static str),
    /// A bundle that its key says to be the resource, of a type that also is an envelope.
    BundleAsResource(&'static str),
    /// A FHIR message that carries a notification.
    NotificationInMessage,
    /// A notification whose first entry is no subscription's status.
    NotificationStatus,
    /// A subscription's status of a type that FHIR does not have.
    NotificationKind,
    /// An entry with a method that FHIR does not have, or with neither method nor resource.
    EntryMethod,
    /// Debezium's shape where `source.debezium` is not set.
    DebeziumUnset,
    /// Debezium's event with an operation that it does not have.
    DebeziumOperation,
    /// All rows of a table are gone.
    DebeziumTruncate,
    /// Debezium's event without the row after it.
    DebeziumRow,
    /// A row without a column that `source.debezium` names.
    DebeziumColumn,
    /// A document's column that holds no document.
    DebeziumDocument(&'static str),
    /// A structured CloudEvent in another event format than JSON, or a batch of them.
    CloudEventFormat,
    /// A content type that promises a CloudEvent, and a value that is none.
    NoCloudEvent,
    /// A CloudEvent whose `data` is no object.
    CloudEventData(&'static str),
    /// A CloudEvent whose `data_base64` is not base64.
    CloudEventBase64,
    /// A CloudEvent without data.
    CloudEventWithoutData,
    /// A CloudEvent with both `data` and `data_base64`.
    CloudEventWithTwoData,
    /// A CloudEvent within a CloudEvent.
    CloudEventWithin,
    /// A `rowcast.operation` header that says neither upsert nor delete.
    OperationHeader,
    /// Some of the `rowcast.origin` headers, or unreadable ones.
    OriginHeaders,
    /// Headers that state one change, with a value that holds several.
    HeadersOfSeveral,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoObject(kind) => {
                return write!(f, "the value is {kind}; an object was expected");
            }
            Self::TwoFormats(one, other) => {
                return write!(
                    f,
                    "the value has the members of two formats, {one} and {other}: set the format",
                );
            }
            Self::HapiPayload(kind) => {
                return write!(f, "the envelope's `payload` is {kind}; JSON in a string was expected");
            }
            Self::LinuxForHealthResource(kind) => {
                return write!(f, "the event's `resource` is {kind}; an object was expected");
            }
            Self::NoBundle(format) => {
                return write!(f, "the value is no bundle of the type that {format} needs");
            }
            Self::BundleAsResource(format) => {
                return write!(
                    f,
                    "the value may be a {format} or, as the key says, a stored Bundle: set the format",
                );
            }
            Self::DebeziumDocument(kind) => {
                return write!(f, "the document's column holds {kind}; a JSON object was expected");
            }
            Self::CloudEventData(kind) => {
                return write!(f, "the CloudEvent's `data` is {kind}; an object was expected");
            }
            Self::UnusableSchema(fault) => {
                return write!(f, "the schema that the value names cannot be used: {fault}");
            }
            Self::SchemaRegistryFrame => {
                "the value begins with the magic byte 0 of a schema registry; JSON was expected"
            }
            Self::SchemaFrame => {
                "the value or its header `__value_schema_id` begins as one with a schema does, but \
                 the schema's id is cut off"
            }
            Self::NoAvro => {
                "the value names no Avro schema: neither a magic byte 0, nor the header \
                 `__value_schema_id`, nor the marker of single-object encoding"
            }
            Self::NoRegistry => {
                "the value is framed with the id of a schema, and the topology names no \
                 `source.schema_registry` to ask for it"
            }
            Self::UnknownSchema => {
                "the schema registry has no schema with the id that the value names"
            }
            Self::UnknownFingerprint => {
                "none of the files in `source.avro.schemas` has the fingerprint that the value names"
            }
            Self::NoAvroField => {
                "the value is no Avro record with all fields that `source.avro` names"
            }
            Self::AvroFieldType => {
                "a field that `source.avro` names is neither text, nor an enum, nor a whole number, \
                 nor an instant"
            }
            Self::AvroOperation => {
                "the field that `source.avro.operation` names says none of create, update, upsert, \
                 insert, delete"
            }
            Self::Xml => "the value looks like XML; JSON was expected",
            Self::NoKnownMember => {
                "the value is an object with the members of no known format: `resourceType` (fhir, \
                 history, notification), `operationType` (hapi, linuxforhealth), `op` (debezium) or \
                 `specversion` (CloudEvents)"
            }
            Self::HapiOperation => {
                "the envelope's `operationType` is none of CREATE, UPDATE, DELETE, \
                 MANUALLY_TRIGGERED"
            }
            Self::LinuxForHealthOperation => {
                "the event's `operationType` is none of create, update, patch, delete"
            }
            Self::NotificationInMessage => {
                "the value is a FHIR message around a notification; the notification itself was \
                 expected"
            }
            Self::NotificationStatus => {
                "the notification's first entry is no SubscriptionStatus, no \
                 AidboxSubscriptionStatus and no Parameters with a `subscription`"
            }
            Self::NotificationKind => {
                "the notification's `type` is none of handshake, heartbeat, event-notification, \
                 query-status, query-event"
            }
            Self::EntryMethod => {
                "an entry has neither a `request.method` that FHIR knows nor a resource"
            }
            Self::DebeziumUnset => {
                "the value is Debezium's change event: say in `source.debezium` which column holds \
                 the document"
            }
            Self::DebeziumOperation => "the event's `op` is none of c, r, u, d, t, m",
            Self::DebeziumTruncate => {
                "the event tells that the whole table was truncated, which is no change of one \
                 resource: `rowcast rebuild --clear` brings the tables in step"
            }
            Self::DebeziumRow => "the event has no row in `after`",
            Self::DebeziumColumn => "the row lacks a column that `source.debezium` names",
            Self::CloudEventFormat => {
                "the content type is a CloudEvents format other than application/cloudevents+json"
            }
            Self::NoCloudEvent => {
                "the content type says application/cloudevents+json, the value is no CloudEvent"
            }
            Self::CloudEventBase64 => "the CloudEvent's `data_base64` is not base64",
            Self::CloudEventWithoutData => "the CloudEvent has no data",
            Self::CloudEventWithTwoData => "the CloudEvent has both `data` and `data_base64`",
            Self::CloudEventWithin => "the CloudEvent's data is a CloudEvent again",
            Self::OperationHeader => {
                "the header `rowcast.operation` is neither `upsert` nor `delete`"
            }
            Self::OriginHeaders => {
                "the headers `rowcast.origin.*` are incomplete or not numbers: topic, partition \
                 and offset are needed"
            }
            Self::HeadersOfSeveral => {
                "the headers `rowcast.version` and `rowcast.operation` state one change; the value \
                 holds several"
            }
        })
    }
}
