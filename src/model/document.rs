//! A FHIR document: JSON parsed once, numbers with their digits kept.
//!
//! Size, depth and encoding are checked before the parse, because the parser recurses and would
//! overflow the stack on a document of 100,000 levels.

use std::fmt;

use memchr::memchr2;
use sonic_rs::{JsonValueTrait, Value};
use thiserror::Error;

/// A node of a document. Objects keep their members' order; of a member given twice the first
/// counts.
pub type Node = Value;

/// Bounds checked before a document is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    /// Largest document in bytes.
    pub bytes: usize,
    /// Deepest nesting of objects and arrays.
    pub depth: usize,
}

impl Default for DocumentLimits {
    /// 16 MiB: far above any resource seen (2.1 MB), far below what harms memory. 128 levels:
    /// Questionnaire items nest, 128 is what HAPI and serde_json accept too.
    fn default() -> Self {
        Self { bytes: 16 << 20, depth: 128 }
    }
}

/// Why bytes are no document.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum DocumentError {
    /// Larger than the limit.
    #[error("the document has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Size found.
        bytes: usize,
        /// Limit in force.
        limit: usize,
    },
    /// Nested deeper than the limit.
    #[error("the document is nested deeper than {limit} levels")]
    TooDeep {
        /// Limit in force.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("the document is not valid UTF-8 at byte {at}")]
    InvalidUtf8 {
        /// Bytes before the fault.
        at: usize,
    },
    /// Not JSON.
    #[error("the document is not valid JSON near byte {at}")]
    InvalidJson {
        /// Bytes before the fault.
        at: usize,
    },
}

/// A parsed document. Cheap to clone.
#[derive(Clone)]
pub struct Document(Value);

/// Documents are payload: debug output shows nothing of them.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Document(…)")
    }
}

impl Document {
    /// Parses JSON text within `limits`.
    ///
    /// # Errors
    /// [`DocumentError`] names the bound or the position, never the text.
    pub fn parse(bytes: &[u8], limits: DocumentLimits) -> Result<Self, DocumentError> {
        if bytes.len() > limits.bytes {
            return Err(DocumentError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| DocumentError::InvalidUtf8 { at: error.valid_up_to() })?;
        check_depth(bytes, limits.depth)?;
        let value = sonic_rs::from_str(text)
            .map_err(|error| DocumentError::InvalidJson { at: error.offset() })?;
        Ok(Self(value))
    }

    /// The root node.
    #[must_use]
    pub const fn root(&self) -> &Node {
        &self.0
    }

    /// A text member of the root.
    #[must_use]
    pub fn text(&self, member: &str) -> Option<&str> {
        self.0.get(member)?.as_str()
    }
}

impl From<Node> for Document {
    /// A document made of a node inside a parsed one (an entry of a bundle).
    fn from(node: Node) -> Self {
        Self(node)
    }
}

/// Refuses nesting beyond the limit before the parser, which recurses, meets it.
fn check_depth(bytes: &[u8], limit: usize) -> Result<(), DocumentError> {
    // What opens nothing more often than the limit is not nested deeper: true of most documents,
    // and told in a tenth of the time that the parse takes.
    if opening_brackets(bytes) > limit && is_deeper(bytes, limit) {
        return Err(DocumentError::TooDeep { limit });
    }
    Ok(())
}

/// How many `{` and `[` there are, in strings too.
fn opening_brackets(bytes: &[u8]) -> usize {
    /// Few enough for their count to fit into a byte, which lets the compiler count sixteen or
    /// more at a time.
    const CHUNK: usize = 128;
    let opens = |byte: &u8| u8::from(matches!(byte, b'{' | b'['));
    bytes.chunks(CHUNK).map(|chunk| usize::from(chunk.iter().map(opens).sum::<u8>())).sum()
}

/// Whether brackets outside of strings are nested deeper than the limit.
fn is_deeper(bytes: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => skip_string(&mut rest),
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Goes on behind the quote that ends the string.
fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(at) = memchr2(b'"', b'\\', rest.as_slice()) {
        let is_end = rest.nth(at) == Some(&b'"');
        if is_end {
            return;
        }
        rest.next();
    }
    *rest = [].iter();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, DocumentError> {
        Document::parse(text.as_bytes(), DocumentLimits { bytes: 1 << 20, depth: 4 })
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused_before_the_parser_sees_it() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).err(), Some(DocumentError::TooDeep { limit: 4 }));
        assert!(parse("[[[[1]]]]").is_ok());
    }

    #[test]
    fn many_brackets_side_by_side_are_not_deep() {
        let flat = format!("[{}1]", "[],{},".repeat(1_000));
        assert!(parse(&flat).is_ok());
        let deep = format!("[{}[[[[1]]]]]", "[],{},".repeat(1_000));
        assert_eq!(parse(&deep).err(), Some(DocumentError::TooDeep { limit: 4 }));
    }

    #[test]
    fn brackets_and_escaped_quotes_inside_strings_do_not_count_as_nesting() {
        assert!(parse(r#"{"a":"[[[[[[\"[[[["}"#).is_ok());
        assert!(parse(r#"{"a":"[[[[[[\\","b":[[[1]]]}"#).is_ok());
        let deep = parse(r#"{"a":"]]]]\\\"","b":[[[[1]]]]}"#);
        assert_eq!(deep.err(), Some(DocumentError::TooDeep { limit: 4 }));
        assert!(matches!(parse(r#"[{"a":"[[[[[ \"#), Err(DocumentError::InvalidJson { .. })));
    }

    #[test]
    fn invalid_utf8_is_told_from_invalid_json() {
        let limits = DocumentLimits::default();
        assert_eq!(
            Document::parse(b"{\"a\":\"\xff\"}", limits).err(),
            Some(DocumentError::InvalidUtf8 { at: 6 })
        );
        assert!(matches!(parse("{\"a\":"), Err(DocumentError::InvalidJson { .. })));
    }

    #[test]
    fn numbers_keep_their_digits() {
        let document = parse(r#"{"v":72.50}"#).expect("valid");
        let number =
            document.root().get("v").and_then(JsonValueTrait::as_raw_number).expect("a number");
        assert_eq!(number.as_str(), "72.50");
    }

    #[test]
    fn debug_output_shows_nothing_of_the_document() {
        assert_eq!(format!("{:?}", parse(r#"{"a":"secret"}"#)), "Ok(Document(…))");
    }
}
