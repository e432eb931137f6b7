//! Tokens that callers show.

/// Whether a token that was shown is the one. It compares without stopping at the first difference, so
/// that timing tells nothing of it.
#[must_use]
pub fn is_same(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len()
        && shown.iter().zip(token).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_or_it_is_not() {
        assert!(is_same(b"secret", b"secret"));
        assert!(!is_same(b"secreT", b"secret") && !is_same(b"secre", b"secret"));
        assert!(!is_same(b"", b"secret"));
    }
}
