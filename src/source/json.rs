//! Members of JSON nodes as the formats need them.

use sonic_rs::JsonValueTrait as _;

use crate::model::Node;

/// A member that is text.
pub(super) fn text<'n>(node: &'n Node, member: &str) -> Option<&'n str> {
    node.get(member)?.as_str()
}

/// A member that is there and not null.
pub(super) fn present<'n>(node: &'n Node, member: &str) -> Option<&'n Node> {
    node.get(member).filter(|value| !value.is_null())
}

/// A number or a text as it is written: versions and keys come as either.
pub(super) fn scalar(node: &Node) -> Option<String> {
    match node.as_str() {
        Some(text) => Some(text.to_owned()),
        None => node.as_raw_number().map(|number| number.as_str().to_owned()),
    }
}
