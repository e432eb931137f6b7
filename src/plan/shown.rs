//! What a log may show of cells.
//!
//! In: cells. Out: their kinds and lengths, or, for who asked for them by name, the values.

use std::fmt;

use super::cell::Cell;
use crate::model::Reveal;

/// Characters of a revealed value: enough to recognise it, few enough for a line.
const MOST_CHARACTERS: usize = 200;

/// A cell without its value: kind, and length where it has one.
#[derive(Clone, Copy)]
struct Masked<'a>(Cell<'a>);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cell::Null => f.write_str("null"),
            Cell::Text(text) => write!(f, "string({})", text.len()),
            Cell::Int(_) => f.write_str("integer"),
            Cell::Decimal(_) => f.write_str("decimal"),
            Cell::Double(_) => f.write_str("double"),
            Cell::Boolean(_) => f.write_str("boolean"),
            Cell::Date(_) => f.write_str("date"),
            Cell::DateTime(_) => f.write_str("date-time"),
            Cell::Time(_) => f.write_str("time"),
            Cell::Uuid(_) => f.write_str("uuid"),
            Cell::Json(text) => write!(f, "json({})", text.len()),
            Cell::Binary(bytes) => write!(f, "binary({})", bytes.len()),
        }
    }
}

/// A cell with its value, long ones cut. Patient data: only for who asked for it.
#[derive(Clone, Copy)]
struct Revealed<'a>(Cell<'a>);

impl fmt::Display for Revealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Cell::Text(text) | Cell::Json(text) => {
                let cut: String = text.chars().take(MOST_CHARACTERS).collect();
                write!(f, "{cut:?}")?;
                if cut.len() < text.len() { write!(f, "…({})", text.len()) } else { Ok(()) }
            }
            Cell::Int(number) => number.fmt(f),
            Cell::Decimal(number) => number.fmt(f),
            Cell::Double(number) => number.fmt(f),
            Cell::Boolean(truth) => truth.fmt(f),
            Cell::Date(date) => date.fmt(f),
            Cell::DateTime(instant) => instant.fmt(f),
            Cell::Time(time) => time.fmt(f),
            Cell::Uuid(uuid) => uuid.fmt(f),
            Cell::Null | Cell::Binary(_) => Masked(self.0).fmt(f),
        }
    }
}

/// Cells one after the other, between commas.
#[must_use]
pub fn listed<'a>(cells: impl IntoIterator<Item = Cell<'a>>, reveal: Reveal) -> String {
    let texts = cells.into_iter().map(|cell| match reveal {
        Reveal::Nothing => Masked(cell).to_string(),
        Reveal::Values => Revealed(cell).to_string(),
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_cell_shows_kind_and_length_and_nothing_of_its_value() {
        let cells = [Cell::Text("secret"), Cell::Int(42), Cell::Json("{}"), Cell::Null];
        assert_eq!(listed(cells, Reveal::Nothing), "string(6), integer, json(2), null");
        assert_eq!(listed(cells, Reveal::Values), r#""secret", 42, "{}", null"#);
    }

    #[test]
    fn a_long_value_is_cut_within_a_character_boundary() {
        let long = "ü".repeat(1000);
        let shown = listed([Cell::Text(&long)], Reveal::Values);
        assert!(shown.chars().count() < 220 && shown.ends_with("…(2000)"), "{shown}");
    }
}
