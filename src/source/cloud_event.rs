//! CloudEvents around any format, as the Kafka binding has them.
//!
//! In: headers and value. Out: the event's data, to be read as if it had come alone. In binary
//! mode the value is the data and the attributes are headers, so nothing is to be done; in
//! structured mode the value is the event, with `data` or `data_base64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sonic_rs::JsonValueTrait as _;

use crate::model::{Document, Record};

use super::detect::kind;
use super::json::present;
use super::{DecodeError, Seen};

/// The header that tells the mode.
const CONTENT_TYPE: &str = "content-type";
/// What a structured event's content type begins with, in whatever case.
const STRUCTURED: &str = "application/cloudevents";

/// The data of a structured event.
pub(super) enum Data {
    /// `data`: JSON within the event.
    Document(Document),
    /// `data_base64`: bytes of any format.
    Bytes(Vec<u8>),
}

/// Whether the headers say that the value is a structured event.
///
/// # Errors
/// In an event format that is not JSON, or several events in one record, which the binding does
/// not have.
pub(super) fn is_structured(record: &Record) -> Result<bool, DecodeError> {
    if record.headers.is_empty() {
        return Ok(false);
    }
    let Some(content_type) = record.header(CONTENT_TYPE) else { return Ok(false) };
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let Some(format) = strip_prefix_ignoring_case(media_type, STRUCTURED) else {
        return Ok(false);
    };
    if format.eq_ignore_ascii_case("+json") {
        Ok(true)
    } else {
        Err(DecodeError::UnknownFormat { seen: Seen::CloudEventFormat })
    }
}

/// The data of a structured event.
pub(super) fn data(event: &Document) -> Result<Data, DecodeError> {
    let root = event.root();
    let refused = |seen| Err(DecodeError::UnknownFormat { seen });
    if !root.is_object() || root.get("specversion").is_none() {
        return refused(Seen::NoCloudEvent);
    }
    match (present(root, "data"), present(root, "data_base64")) {
        (Some(data), None) if data.is_object() => Ok(Data::Document(Document::from(data.clone()))),
        (Some(data), None) => refused(Seen::CloudEventData(kind(data))),
        (None, Some(data)) => match data.as_str().map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => Ok(Data::Bytes(bytes)),
            _ => refused(Seen::CloudEventBase64),
        },
        (None, None) => refused(Seen::CloudEventWithoutData),
        (Some(_), Some(_)) => refused(Seen::CloudEventWithTwoData),
    }
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}
