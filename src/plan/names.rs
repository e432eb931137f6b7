//! Names of what our DDL makes beside tables: indexes, unique indexes, foreign keys.
//!
//! In: a table, its columns, what is named. Out: a name that is always the same for them, is no
//! other's of the schema, and is as long as the database takes at most: where the plain name would be
//! longer it is cut, and a hash of the whole tells it from others that are cut alike.

use uuid::Uuid;

/// What is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Index,
    UniqueIndex,
    ForeignKey,
}

impl Named {
    /// As PostgreSQL calls its own.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Index => "idx",
            Self::UniqueIndex => "key",
            Self::ForeignKey => "fkey",
        }
    }
}

/// The name of an index or foreign key over columns of a table, not quoted. `takes` knows how long it
/// may be.
pub(super) fn name(
    takes: impl Fn(&str) -> bool,
    table: &str,
    columns: &[&str],
    named: Named,
) -> String {
    let suffix = named.suffix();
    let whole = format!("{table}_{}", columns.join("_"));
    let plain = format!("{whole}_{suffix}");
    if takes(&plain) {
        return plain;
    }
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, plain.as_bytes()).simple().to_string();
    let hash = hash.get(..HASH_DIGITS).unwrap_or(&hash);
    let mut kept = whole.as_str();
    loop {
        let cut = format!("{kept}_{hash}_{suffix}");
        if kept.is_empty() || takes(&cut) {
            return cut;
        }
        let mut characters = kept.chars();
        characters.next_back();
        kept = characters.as_str();
    }
}

/// Hexadecimal digits: two of 100,000 names that are cut alike meet with a chance of 1 in 200.
const HASH_DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::plan::{Dialect, Mysql, Postgres, Sqlite};

    fn name(dialect: &dyn Dialect, table: &str, columns: &[&str], named: Named) -> String {
        super::name(|name| dialect.takes_name(name), table, columns, named)
    }

    #[test]
    fn a_name_that_fits_is_told_plainly() {
        for dialect in [&Postgres as &dyn Dialect, &Mysql, &Sqlite] {
            let index = name(dialect, "patient", &["source_resource_id"], Named::Index);
            assert_eq!(index, "patient_source_resource_id_idx");
            let key = name(dialect, "patient_history", &["id", "version"], Named::UniqueIndex);
            assert_eq!(key, "patient_history_id_version_key");
        }
    }

    #[test]
    fn names_too_long_are_cut_within_the_limit_and_stay_apart() {
        let tables = ["x", "y"].map(|end| format!("{}{end}", "ü".repeat(31)));
        let mut names = HashSet::new();
        for dialect in [&Postgres as &dyn Dialect, &Mysql] {
            for table in &tables {
                for (column, named) in [
                    ("source_resource_id", Named::Index),
                    ("parent_reference", Named::Index),
                    ("parent_reference", Named::ForeignKey),
                    ("parent_reference", Named::UniqueIndex),
                ] {
                    let cut = name(dialect, table, &[column], named);
                    assert!(dialect.takes_name(&cut) && cut.starts_with('ü'), "{cut}");
                    assert_eq!(cut, name(dialect, table, &[column], named));
                    names.insert(cut);
                }
            }
        }
        assert_eq!(names.len(), 16);
        assert!(!Postgres.takes_name(&"x".repeat(64)) && Mysql.takes_name(&"ü".repeat(64)));
    }
}
