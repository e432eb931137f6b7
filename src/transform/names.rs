//! What is wrong with the names and paths in rules and views.
//!
//! In: names as the files write them. Out: what is wrong with them: unusable, reserved or given
//! twice. Quoting them is the dialects' business.

use std::collections::HashMap;

use super::fhirpath::PathError;
use crate::model::{RESOURCE_TYPES, TableName, is_resource_type};
use crate::problem::closest;

/// Longest identifier, bytes: PostgreSQL's limit, the smallest of the databases'.
const MAX_IDENTIFIER: usize = 63;

/// Tables that rowcast keeps its own books in.
const BOOKKEEPING: [&str; 4] =
    ["rowcast_task", "rowcast_table", "rowcast_tombstone", "rowcast_resource"];

/// What is wrong with an identifier as such.
pub(super) fn fault(identifier: &str) -> Option<String> {
    if identifier.is_empty() {
        return Some("the name is empty".to_owned());
    }
    if identifier.contains('\0') {
        return Some("the name contains a NUL character".to_owned());
    }
    let bytes = identifier.len();
    (bytes > MAX_IDENTIFIER)
        .then(|| format!("the name has {bytes} bytes; databases take at most {MAX_IDENTIFIER}"))
}

/// What is wrong with the name of a resource type.
pub(super) fn unknown_resource_type(name: &str) -> Option<String> {
    if is_resource_type(name) {
        return None;
    }
    let guess = closest(name, RESOURCE_TYPES);
    let guess = guess.map(|guess| format!("; did you mean `{guess}`?")).unwrap_or_default();
    Some(format!("`{name}` is no resource type of FHIR R4{guess}"))
}

/// What is wrong with an expression, beside the caret that shows where.
pub(super) fn refused_path(error: &PathError) -> String {
    format!("{error} {}", error.problem)
}

/// The tables that were given a transformer so far, in whichever file, and where.
#[derive(Default)]
pub(super) struct TableNames {
    taken: HashMap<String, String>,
}

impl TableNames {
    /// Takes a table, and its history table if it has one, for the rule at `place`.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub(super) fn take(
        &mut self,
        table: &TableName,
        history: bool,
        place: &str,
    ) -> Result<(), String> {
        for part in table.schema.iter().chain([&table.name]) {
            if let Some(fault) = fault(part) {
                return Err(fault);
            }
        }
        if BOOKKEEPING.iter().any(|own| table.name.eq_ignore_ascii_case(own)) {
            return Err(format!("rowcast keeps its own books in `{}`", table.name));
        }
        self.claim(table, place)?;
        if history {
            let history = table.history();
            if let Some(fault) = fault(&history.name) {
                return Err(format!("its history table is `{}`: {fault}", history.name));
            }
            self.claim(&history, place)
                .map_err(|taken| format!("its history table is `{history}`: {taken}"))?;
        }
        Ok(())
    }

    /// Case does not tell tables apart: not every database distinguishes it.
    fn claim(&mut self, table: &TableName, place: &str) -> Result<(), String> {
        match self.taken.entry(table.to_string().to_lowercase()) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(place.to_owned());
                Ok(())
            }
            std::collections::hash_map::Entry::Occupied(entry) => Err(format!(
                "the table is filled by {} already; a table belongs to exactly one transformer",
                entry.get()
            )),
        }
    }
}
