//! Regular expressions, as `matches` and its like take them.

use regex::RegexBuilder;

use super::function::Function;

/// Largest compiled regular expression, in bytes: ample for any pattern over codes and names.
pub(super) const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A regular expression as FHIRPath has them: the dot matches a line's end too.
pub(super) fn pattern(function: Function, text: &str) -> Option<regex::Regex> {
    let whole = format!("^(?:{text})$");
    let text = if function == Function::MatchesFull { &whole } else { text };
    RegexBuilder::new(text).dot_matches_new_line(true).size_limit(MAX_PATTERN_BYTES).build().ok()
}
