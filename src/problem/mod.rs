//! What is wrong with a file that an operator wrote.
//!
//! In: the text of a rules or topology file, and the shape it should have. Out: all problems at
//! once, each with file and JSON path and with what is accepted instead; never a value that was
//! found, which may be a secret. A leaf: it reads no file itself and knows no key of any format.

use std::fmt;

mod derive;
mod parse;
pub mod pointer;
mod schema;
mod stand_in;
mod unique;

pub use parse::{parse, yaml};
pub use schema::{Schema, read};

/// One thing to mend in a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// JSON pointer into it, `/transformers/0/tableName`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at a JSON pointer of a file.
    #[must_use]
    pub fn new(
        file: impl Into<String>,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { file: file.into(), path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if !self.path.is_empty() {
            write!(f, "#{}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The accepted name that was probably meant.
#[must_use]
pub fn closest<'n>(name: &str, accepted: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = name.to_lowercase();
    accepted
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``; did you mean `x`? accepted are …``: the second half of a message about an unknown name.
#[must_use]
pub fn advice(name: &str, accepted: &[&str]) -> String {
    let guess = closest(name, accepted.iter().copied())
        .map(|guess| format!("; did you mean `{guess}`?"))
        .unwrap_or_default();
    if accepted.is_empty() {
        return guess;
    }
    format!("{guess} (accepted: {})", accepted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let names = ["fhirPath", "columnName"];
        assert_eq!(closest("fhirpath", names), Some("fhirPath"));
        assert_eq!(closest("fhirPaht", names), Some("fhirPath"));
        assert_eq!(closest("path", names), None);
    }

    #[test]
    fn what_is_accepted_is_listed_whether_or_not_a_name_is_near() {
        let names = ["rows", "linger"];
        assert_eq!(advice("row", &names), "; did you mean `rows`? (accepted: rows, linger)");
        assert_eq!(advice("zzz", &names), " (accepted: rows, linger)");
        assert_eq!(advice("zzz", &[]), "");
    }
}
