//! Which format a value has.
//!
//! In: a value's first byte, then its parsed form. Out: a shape, or what was seen instead. It
//! looks at structure only, and where two formats would fit it takes neither.

use sonic_rs::{JsonContainerTrait as _, JsonType, JsonValueTrait as _};

use crate::model::{Document, Node};

use super::bundle;
use super::identity::Key;
use super::json::text;
use super::notification;
use super::{DecodeError, Seen};

/// The shapes that the formats have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Fhir,
    Hapi,
    LinuxForHealth,
    Notification,
    History,
    Debezium,
    CloudEvent,
}

/// An encoding that is recognisably not JSON: told apart here because "not valid JSON" would
/// send the operator looking for a broken producer instead of a setting.
pub(super) fn foreign_encoding(value: &[u8]) -> Option<Seen> {
    match value.first()? {
        0 => Some(Seen::SchemaRegistryFrame),
        b'<' => Some(Seen::Xml),
        _ => None,
    }
}

/// The shape of a document. `key`: the record's.
pub(super) fn shape(document: &Document, key: Option<&Key<'_>>) -> Result<Shape, DecodeError> {
    let root = document.root();
    let seen = match Members::of(root) {
        None => Seen::NoObject(kind(root)),
        Some(members) => {
            let mut shapes = members.shapes();
            match (shapes.next(), shapes.next()) {
                (Some((Shape::Fhir, _)), None) => return resource(root, key),
                (Some((shape, _)), None) => return Ok(shape),
                (Some((_, one)), Some((_, other))) => Seen::TwoFormats(one, other),
                (None, _) => Seen::NoKnownMember,
            }
        }
    };
    Err(DecodeError::UnknownFormat { seen })
}

/// Which of the telling members an object has.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is there or not, independent of the others"
)]
struct Members<'n> {
    resource_type: bool,
    operation_type: bool,
    location: bool,
    op: bool,
    before_or_after: bool,
    spec_version: bool,
    payload: Option<&'n Node>,
}

impl<'n> Members<'n> {
    /// One pass over the members; `None` of what is no object.
    fn of(root: &'n Node) -> Option<Self> {
        let mut members = Self::default();
        for (name, value) in root.as_object()? {
            match name {
                "resourceType" => members.resource_type = true,
                "operationType" => members.operation_type = true,
                "location" => members.location = true,
                "op" => members.op = true,
                "before" | "after" => members.before_or_after = true,
                "specversion" => members.spec_version = true,
                "payload" => members.payload = members.payload.or(Some(value)),
                _ => {}
            }
        }
        Some(members)
    }

    /// The shapes that it fits, with the names of their formats.
    fn shapes(&self) -> impl Iterator<Item = (Shape, &'static str)> {
        let inner = |name| self.payload.is_some_and(|payload| payload.get(name).is_some());
        let inner_row = inner("before") || inner("after");
        let is_linux_for_health = self.operation_type && self.location;
        let is_hapi = inner("operationType")
            || (self.operation_type && (!self.location || self.payload.is_some()));
        let is_debezium = (self.op && self.before_or_after) || (inner("op") && inner_row);
        [
            (self.resource_type, Shape::Fhir, "fhir"),
            (is_hapi, Shape::Hapi, "hapi"),
            (is_linux_for_health, Shape::LinuxForHealth, "linuxforhealth"),
            (is_debezium, Shape::Debezium, "debezium"),
            (self.spec_version, Shape::CloudEvent, "CloudEvents"),
        ]
        .into_iter()
        .filter_map(|(fits, shape, name)| fits.then_some((shape, name)))
    }
}

/// A resource, or a bundle that is an envelope.
fn resource(root: &Node, key: Option<&Key<'_>>) -> Result<Shape, DecodeError> {
    if text(root, "resourceType") != Some("Bundle") {
        return Ok(Shape::Fhir);
    }
    let first = bundle::elements(root, "entry").first();
    let (shape, name) = match text(root, "type") {
        Some("subscription-notification") => (Shape::Notification, "notification"),
        Some("history") if first.is_some_and(notification::is_status) => {
            (Shape::Notification, "notification")
        }
        Some("history") => (Shape::History, "history"),
        Some("message") if first.is_some_and(is_header_of_notification) => {
            return Err(DecodeError::UnknownFormat { seen: Seen::NotificationInMessage });
        }
        _ => return Ok(Shape::Fhir),
    };
    if key.is_some_and(Key::is_of_a_bundle) {
        return Err(DecodeError::UnknownFormat { seen: Seen::BundleAsResource(name) });
    }
    Ok(shape)
}

/// Whether an entry is a `MessageHeader` of a notification: taken for a stored message, the
/// changes in it would be lost without a word.
fn is_header_of_notification(entry: &Node) -> bool {
    let event = entry.get("resource").and_then(|header| header.get("eventCoding"));
    event.and_then(|event| text(event, "code")) == Some("subscription-notification")
}

/// The kind of a JSON node, with its article.
pub(super) fn kind(node: &Node) -> &'static str {
    match node.get_type() {
        JsonType::Null => "null",
        JsonType::Boolean => "a boolean",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Object => "an object",
        JsonType::Array => "an array",
    }
}
