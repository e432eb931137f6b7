//! JSON pointers (RFC 6901): how problems say where.
//!
//! In: keys and indices. Out: `/transformers/0/tableName`, and back. It never looks at a document.

/// The pointer of a member or element below `parent`.
#[must_use]
pub fn join(parent: &str, segment: &str) -> String {
    format!("{parent}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

/// Whether `pointer` is `ancestor` or lies below it.
#[must_use]
pub fn is_within(pointer: &str, ancestor: &str) -> bool {
    pointer.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The pointer of what contains `pointer`, and its last segment, unescaped. `None` at the root.
#[must_use]
pub fn split(pointer: &str) -> Option<(&str, String)> {
    let (parent, last) = pointer.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}
