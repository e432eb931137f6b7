//! `encode`, `decode`, `escape` and `unescape`.
//!
//! What cannot be decoded is empty. A format that is a literal is checked when the expression is
//! compiled.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::transform::fhirpath::budget::Budget;
use crate::transform::fhirpath::error::{EvaluationError, Outcome};
use crate::transform::fhirpath::function::Function;

/// The formats that a function knows; none for any other function.
pub(in crate::transform::fhirpath) const fn formats(function: Function) -> &'static [&'static str] {
    match function {
        Function::Encode | Function::Decode => &["base64", "hex", "urlbase64"],
        Function::Escape | Function::Unescape => &["html", "json"],
        _ => &[],
    }
}

/// The text in the other form; `None` if it has none.
pub(in crate::transform::fhirpath) fn apply(
    function: Function,
    subject: &str,
    format: &str,
    budget: &mut Budget,
) -> Outcome<Option<String>> {
    let result = match (function, format) {
        (Function::Encode, "base64") => Some(STANDARD.encode(subject)),
        (Function::Encode, "urlbase64") => Some(URL_SAFE.encode(subject)),
        (Function::Encode, "hex") => Some(subject.bytes().fold(String::new(), |mut hex, byte| {
            // Writing into a text cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })),
        (Function::Decode, "base64") => STANDARD.decode(subject).ok().and_then(text),
        (Function::Decode, "urlbase64") => URL_SAFE.decode(subject).ok().and_then(text),
        (Function::Decode, "hex") => from_hex(subject).and_then(text),
        (Function::Escape, "html") => Some(escape(subject, |letter| {
            Some(Cow::Borrowed(match letter {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                _ => return None,
            }))
        })),
        (Function::Escape, "json") => Some(escape(subject, |letter| {
            Some(match letter {
                '"' => Cow::Borrowed("\\\""),
                '\\' => Cow::Borrowed("\\\\"),
                '\n' => Cow::Borrowed("\\n"),
                '\r' => Cow::Borrowed("\\r"),
                '\t' => Cow::Borrowed("\\t"),
                '\u{0}'..='\u{1f}' => Cow::Owned(format!("\\u{:04x}", u32::from(letter))),
                _ => return None,
            })
        })),
        (Function::Unescape, "html") => Some(unescape(subject, '&', html_character)),
        (Function::Unescape, "json") => Some(unescape(subject, '\\', json_character)),
        _ => return Err(EvaluationError::Format { operation: function.name() }),
    };
    budget.spend_on_text(result.as_ref().map_or(0, String::len))?;
    Ok(result)
}

fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

fn from_hex(subject: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = subject
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect(),
    )
}

fn escape(subject: &str, escaped: impl Fn(char) -> Option<Cow<'static, str>>) -> String {
    let mut result = String::with_capacity(subject.len());
    for letter in subject.chars() {
        match escaped(letter) {
            Some(escaped) => result.push_str(&escaped),
            None => result.push(letter),
        }
    }
    result
}

/// What begins with `mark` and is no escape stays as it is.
fn unescape(subject: &str, mark: char, read: impl Fn(&str) -> Option<(char, usize)>) -> String {
    let mut result = String::with_capacity(subject.len());
    let mut rest = subject;
    while let Some(at) = rest.find(mark) {
        let (before, marked) = rest.split_at(at);
        result.push_str(before);
        let (letter, length) = read(marked).unwrap_or((mark, mark.len_utf8()));
        result.push(letter);
        rest = marked.get(length..).unwrap_or_default();
    }
    result.push_str(rest);
    result
}

/// `&lt;`, `&#60;`, `&#x3c;`: the character and the length.
fn html_character(text: &str) -> Option<(char, usize)> {
    /// Longest reference: `&#x10ffff;`.
    const LONGEST: usize = 10;
    let length = text.bytes().take(LONGEST).position(|byte| byte == b';')? + 1;
    let name = text.get(1..length - 1)?;
    let letter = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => {
            let code = match name.strip_prefix("#x").or_else(|| name.strip_prefix("#X")) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => name.strip_prefix('#')?.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((letter, length))
}

/// `\n`, `\u00e9`, `\ud83d\ude00`: the character and the length.
fn json_character(text: &str) -> Option<(char, usize)> {
    let letter = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'u' => {
            let unit = |at: usize| {
                let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
                u16::from_str_radix(escape, 16).ok()
            };
            let (first, second) = (unit(0)?, unit(6));
            let units = [first, second.unwrap_or(0)];
            let letter = char::decode_utf16(units).next()?.ok()?;
            return Some((letter, 6 * letter.len_utf16()));
        }
        _ => return None,
    };
    Some((letter, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(function: Function, subject: &str, format: &str) -> Option<String> {
        apply(function, subject, format, &mut Budget::new()).expect("a format that is known")
    }

    #[test]
    fn what_was_encoded_or_escaped_comes_back() {
        let subject = "<a href=\"x\">é & 'ü'\\\n\u{1f600}\u{1}</a>";
        for (there, back) in
            [(Function::Encode, Function::Decode), (Function::Escape, Function::Unescape)]
        {
            for format in formats(there) {
                let form = on(there, subject, format).expect("text has a form");
                assert_eq!(on(back, &form, format).as_deref(), Some(subject), "{format}");
            }
        }
        assert_eq!(on(Function::Unescape, "\\ud83d\\ude00", "json").as_deref(), Some("\u{1f600}"));
    }

    #[test]
    fn what_is_no_encoding_decodes_to_nothing() {
        for (subject, format) in [("a", "hex"), ("0g", "hex"), ("ff", "hex"), ("*", "base64")] {
            assert_eq!(on(Function::Decode, subject, format), None, "{subject}");
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(
            on(Function::Unescape, "a & b; &#x; \\", "html").as_deref(),
            Some("a & b; &#x; \\")
        );
        assert_eq!(on(Function::Unescape, "\\q \\u12 \\", "json").as_deref(), Some("\\q \\u12 \\"));
    }
}
