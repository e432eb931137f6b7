//! FHIR's XML, for subscriptions that ask for it: simple elements, as HAPI writes them.

use std::fmt::Write as _;

use serde_json::Value;
use serde_json::value::RawValue;

use super::document::Document;

/// A resource in XML.
pub(super) fn of(document: &Document) -> String {
    let root = document.text("resourceType").unwrap_or_default();
    let mut xml = format!("<{root} xmlns=\"http://hl7.org/fhir\">");
    for (name, value) in document.members().filter(|(name, _)| *name != "resourceType") {
        element(&mut xml, name, value);
    }
    let _ = write!(xml, "</{root}>");
    xml
}

fn element(xml: &mut String, name: &str, raw: &str) {
    if raw.starts_with('[') {
        let items: Vec<Box<RawValue>> = serde_json::from_str(raw).unwrap_or_default();
        for item in items {
            element(xml, name, item.get());
        }
    } else if raw.starts_with('{') {
        let Some(inner) = Document::parse(raw) else { return };
        let is_attribute =
            |member: &str| member == "id" || (name == "extension" && member == "url");
        let _ = write!(xml, "<{name}");
        for (attribute, value) in inner.members().filter(|(member, _)| is_attribute(member)) {
            let _ = write!(xml, " {attribute}=\"{}\"", escaped(value));
        }
        xml.push('>');
        for (member, value) in inner.members().filter(|(member, _)| !is_attribute(member)) {
            element(xml, member, value);
        }
        let _ = write!(xml, "</{name}>");
    } else {
        let _ = write!(xml, "<{name} value=\"{}\"/>", escaped(raw));
    }
}

/// The text of a JSON string, or a number as it is written.
fn escaped(raw: &str) -> String {
    let text = match serde_json::from_str(raw) {
        Ok(Value::String(text)) => text,
        _ => raw.to_owned(),
    };
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
