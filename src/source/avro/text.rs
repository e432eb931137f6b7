//! How Avro's types are written as JSON: what FHIR writes for the same.
//!
//! In: a decoded value. Out: its JSON text, appended. Whole and decimal numbers keep their digits,
//! instants are UTC, dates and times are ISO 8601.

use std::fmt::{self, Write as _};

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::BigInt;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, SecondsFormat, Utc};
use uuid::Uuid;

use super::read::AvroFault;
use super::schema::{Unit, Zone};

/// Longest decimal, in bytes: 616 digits. Making text of a number takes time that grows with the
/// square of its length.
const MAX_DECIMAL: usize = 256;

/// Furthest place of a decimal's point, where the value itself tells it.
const MAX_SCALE: u64 = 1000;

/// JSON text in the making. Bytes, because nobody has looked yet whether the strings are UTF-8.
#[derive(Debug, Default)]
pub(super) struct JsonText(Vec<u8>);

impl JsonText {
    /// Empty, with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn push(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Write for JsonText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.extend(text.as_bytes());
        Ok(())
    }
}

/// A string with its quotes and escapes. Whether it is UTF-8 is not looked at: what is not stays so
/// between its quotes.
pub(super) fn string(out: &mut JsonText, text: &[u8]) {
    out.0.reserve(text.len() + 2);
    out.push(b'"');
    if is_plain(text) {
        out.extend(text);
    } else {
        escape(out, text);
    }
    out.push(b'"');
}

/// Whether JSON takes all of it as it is: true of most texts, and told of eight bytes at a time.
fn is_plain(text: &[u8]) -> bool {
    let (words, _) = text.as_chunks();
    match text.last_chunk() {
        // the last word overlaps the one before it
        Some(last) => words.iter().all(|word| is_plain_word(*word)) && is_plain_word(*last),
        None => !text.iter().copied().any(needs_escape),
    }
}

/// Whether none of eight bytes needs an escape. A term has the highest bit of any byte set exactly if
/// one of the bytes is what it looks for.
const fn is_plain_word(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; 8]);
    const fn below(word: u64, limit: u64) -> u64 {
        word.wrapping_sub(ONES * limit) & !word
    }
    let word = u64::from_ne_bytes(word);
    let quotes = below(word ^ (ONES * b'"' as u64), 1);
    let backslashes = below(word ^ (ONES * b'\\' as u64), 1);
    (below(word, 0x20) | quotes | backslashes) & HIGHEST == 0
}

const fn needs_escape(byte: u8) -> bool {
    matches!(byte, 0..0x20 | b'"' | b'\\')
}

fn escape(out: &mut JsonText, text: &[u8]) {
    let mut rest = text;
    while let Some((at, byte)) = next_escape(rest) {
        let (plain, escaped) = rest.split_at(at);
        out.extend(plain);
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            control => {
                let _ = write!(out, "\\u{control:04x}");
            }
        }
        rest = escaped.get(1..).unwrap_or_default();
    }
    out.extend(rest);
}

/// The place of the first byte that JSON does not take as it is, and the byte.
fn next_escape(bytes: &[u8]) -> Option<(usize, u8)> {
    /// Looked at together: the compiler then compares them all at once.
    const CHUNK: usize = 16;
    let mut before = 0;
    for chunk in bytes.chunks(CHUNK) {
        if chunk.iter().fold(false, |found, byte| found | needs_escape(*byte)) {
            let mut bytes = chunk.iter().copied().enumerate();
            let found = bytes.find(|(_, byte)| needs_escape(*byte));
            return found.map(|(at, byte)| (before + at, byte));
        }
        before += CHUNK;
    }
    None
}

/// A whole number.
pub(super) fn integer(out: &mut JsonText, number: i64) {
    let _ = write!(out, "{number}");
}

/// A decimal of big-endian bytes in two's complement, with all digits of its scale: `72.50`.
pub(super) fn decimal(out: &mut JsonText, digits: &[u8], scale: i64) -> Result<(), AvroFault> {
    if digits.len() > MAX_DECIMAL || scale.unsigned_abs() > MAX_SCALE {
        return Err(AvroFault::LongDecimal);
    }
    let number = BigDecimal::new(BigInt::from_signed_bytes_be(digits), scale);
    out.extend(number.to_plain_string().as_bytes());
    Ok(())
}

/// A UUID with hyphens.
pub(super) fn uuid(out: &mut JsonText, bytes: [u8; 16]) {
    let _ = write!(out, "\"{}\"", Uuid::from_bytes(bytes).hyphenated());
}

/// Days since the epoch as `YYYY-MM-DD`.
pub(super) fn date(out: &mut JsonText, days: i32) -> Result<(), AvroFault> {
    let distance = Days::new(days.unsigned_abs().into());
    let epoch = NaiveDate::default();
    let date = match days {
        0.. => epoch.checked_add_days(distance),
        _ => epoch.checked_sub_days(distance),
    };
    let _ = write!(out, "\"{}\"", date.ok_or(AvroFault::OutOfRange)?);
    Ok(())
}

/// Time since midnight as `HH:MM:SS.fff`.
pub(super) fn time(out: &mut JsonText, since_midnight: i64, unit: Unit) -> Result<(), AvroFault> {
    let per_second = per_second(unit);
    let seconds = u32::try_from(since_midnight / per_second);
    let nanos = u32::try_from(since_midnight % per_second * (1_000_000_000 / per_second));
    let (Ok(seconds), Ok(nanos)) = (seconds, nanos) else { return Err(AvroFault::OutOfRange) };
    let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos);
    let time = time.ok_or(AvroFault::OutOfRange)?;
    let _ = match unit {
        Unit::Millis => write!(out, "\"{}\"", time.format("%H:%M:%S%.3f")),
        Unit::Micros | Unit::Nanos => write!(out, "\"{}\"", time.format("%H:%M:%S%.6f")),
    };
    Ok(())
}

/// Time since the epoch as `YYYY-MM-DDTHH:MM:SS.fffZ`; without the `Z` if it is a local time.
pub(super) fn timestamp(
    out: &mut JsonText,
    since_epoch: i64,
    unit: Unit,
    zone: Zone,
) -> Result<(), AvroFault> {
    let instant = match unit {
        Unit::Millis => DateTime::<Utc>::from_timestamp_millis(since_epoch),
        Unit::Micros => DateTime::<Utc>::from_timestamp_micros(since_epoch),
        Unit::Nanos => Some(DateTime::<Utc>::from_timestamp_nanos(since_epoch)),
    };
    let digits = match unit {
        Unit::Millis => SecondsFormat::Millis,
        Unit::Micros => SecondsFormat::Micros,
        Unit::Nanos => SecondsFormat::Nanos,
    };
    let text = instant.ok_or(AvroFault::OutOfRange)?.to_rfc3339_opts(digits, true);
    let shown = match zone {
        Zone::Utc => text.as_str(),
        Zone::Local => text.trim_end_matches('Z'),
    };
    let _ = write!(out, "\"{shown}\"");
    Ok(())
}

/// Months, days and milliseconds, little-endian, as ISO 8601: `P1M2DT3.004S`.
pub(super) fn duration(out: &mut JsonText, bytes: [u8; 12]) {
    let mut numbers = bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number));
    let [months, days, millis] = std::array::from_fn(|_| numbers.next().unwrap_or_default());
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let _ = write!(out, "\"P{months}M{days}DT{seconds}.{millis:03}S\"");
}

const fn per_second(unit: Unit) -> i64 {
    match unit {
        Unit::Millis => 1_000,
        Unit::Micros => 1_000_000,
        Unit::Nanos => 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut JsonText)) -> String {
        let mut out = JsonText::default();
        write(&mut out);
        String::from_utf8(out.0).expect("UTF-8")
    }

    #[test]
    fn strings_are_escaped_as_json_wants_it() {
        let all: String = (0..0x80_u8).map(char::from).chain("äß€𝄞 and the rest".chars()).collect();
        let text = written(|out| string(out, all.as_bytes()));
        assert_eq!(serde_json::from_str::<String>(&text).ok(), Some(all));
    }

    #[test]
    fn every_byte_that_needs_an_escape_gets_one_wherever_it_stands() {
        for length in 1..20 {
            for place in 0..length {
                for byte in 0..0x80_u8 {
                    let mut text = vec![b'~'; length];
                    text[place] = byte;
                    let text = String::from_utf8(text).expect("ASCII");
                    let json = written(|out| string(out, text.as_bytes()));
                    assert_eq!(serde_json::from_str::<String>(&json).ok(), Some(text));
                }
            }
        }
    }

    #[test]
    fn decimals_keep_all_digits_of_their_scale() {
        for (digits, scale, expected) in [
            (&[0x1c, 0x52][..], 2, "72.50"),
            (&[0xff][..], 3, "-0.001"),
            (&[][..], 1, "0.0"),
            (&[0x0c][..], -2, "1200"),
        ] {
            let text = written(|out| decimal(out, digits, scale).expect("a decimal"));
            assert_eq!(text, expected);
        }
        assert_eq!(decimal(&mut JsonText::default(), &[1; 300], 0), Err(AvroFault::LongDecimal));
        assert_eq!(decimal(&mut JsonText::default(), &[1], i64::MIN), Err(AvroFault::LongDecimal));
    }

    #[test]
    fn days_times_and_instants_are_iso_8601() {
        assert_eq!(written(|out| date(out, -1).expect("a day")), "\"1969-12-31\"");
        assert_eq!(written(|out| date(out, 20_000).expect("a day")), "\"2024-10-04\"");
        assert_eq!(date(&mut JsonText::default(), i32::MAX), Err(AvroFault::OutOfRange));
        let noon = written(|out| time(out, 43_200_001, Unit::Millis).expect("a time"));
        assert_eq!(noon, "\"12:00:00.001\"");
        assert_eq!(time(&mut JsonText::default(), -1, Unit::Micros), Err(AvroFault::OutOfRange));
        let instant =
            |at, unit, zone| written(|out| timestamp(out, at, unit, zone).expect("an instant"));
        let at = 1_764_000_000_000;
        assert_eq!(instant(at, Unit::Millis, Zone::Utc), "\"2025-11-24T16:00:00.000Z\"");
        assert_eq!(instant(-1, Unit::Micros, Zone::Local), "\"1969-12-31T23:59:59.999999\"");
        let far = timestamp(&mut JsonText::default(), i64::MAX, Unit::Millis, Zone::Utc);
        assert_eq!(far, Err(AvroFault::OutOfRange));
    }

    #[test]
    fn a_duration_tells_months_days_and_seconds() {
        let text = written(|out| duration(out, [1, 0, 0, 0, 2, 0, 0, 0, 0xbc, 0x0b, 0, 0]));
        assert_eq!(text, "\"P1M2DT3.004S\"");
    }
}
