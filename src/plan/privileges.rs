//! What the role of `run` must be granted.
//!
//! In: the catalog, and what a database says is not granted. Out: which privileges are asked about on
//! which table, no more than the statements of `run` use, and the findings of those that lack.

use std::collections::BTreeSet;

use super::ddl::{TableKind, tables_of};
use super::dialect::Dialect;
use super::schema::{Mending, ProblemKind, SchemaProblem, Severity};
use crate::model::{Catalog, Guard, TableName};

/// What a role may do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Read its rows.
    Select,
    /// Add rows.
    Insert,
    /// Change and lock rows.
    Update,
    /// Remove rows.
    Delete,
}

impl Privilege {
    /// As SQL writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

use Privilege::{Delete, Insert, Select, Update};

/// What `run` does with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The table.
    pub table: TableName,
    /// Its first column as the rules have it, for a database that is asked by a statement.
    pub column: String,
    /// The privileges that its statements use.
    pub privileges: &'static [Privilege],
    /// Whether it is one of rowcast's own, which `run` creates if it is missing.
    pub is_own: bool,
}

/// What `run` does with the tables of a catalog and with rowcast's own.
#[must_use]
pub fn needed(catalog: &Catalog) -> Vec<Needed> {
    let mut needed = vec![
        own("rowcast_task", "cluster_id", &[Select, Insert, Update]),
        own("rowcast_tombstone", "table_name", &[Select, Insert, Update]),
        own("rowcast_table", "table_name", &[Select, Insert, Update]),
    ];
    if catalog.roots.iter().any(|root| root.guard == Guard::ResourceTable) {
        needed.push(own("rowcast_resource", "table_name", &[Select, Insert, Update, Delete]));
    }
    for root in &catalog.roots {
        for (table, kind) in tables_of(root) {
            let is_guarded = root.guard == Guard::RootRow && table.parent.is_none();
            let privileges: &[Privilege] = match kind {
                TableKind::History => &[Select, Insert],
                TableKind::Live if is_guarded => &[Select, Insert, Update, Delete],
                TableKind::Live => &[Select, Insert, Delete],
            };
            let column = table.columns.first().map_or("id", |column| &column.name).to_owned();
            let table = kind.name(table);
            needed.push(Needed { table, column, privileges, is_own: false });
        }
    }
    needed
}

fn own(name: &str, column: &str, privileges: &'static [Privilege]) -> Needed {
    let table = TableName { schema: None, name: name.into() };
    Needed { table, column: column.to_owned(), privileges, is_own: true }
}

/// What a role is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// To look into a schema at all.
    Usage {
        /// The schema.
        schema: String,
    },
    /// To create tables in a schema.
    Create {
        /// The schema; none if the search path leads to none that may be used.
        schema: Option<String>,
    },
    /// Something with a table.
    Table {
        /// The table.
        table: TableName,
        /// What is lacking.
        privileges: BTreeSet<Privilege>,
    },
}

impl Lack {
    /// The finding: what `role` lacks, and the statement that grants it to `grantee`, which is the role
    /// as statements name it.
    #[must_use]
    pub fn finding(&self, dialect: &dyn Dialect, role: &str, grantee: &str) -> SchemaProblem {
        let grant =
            |what: &str, on: String| Some(vec![format!("GRANT {what} ON {on} TO {grantee}")]);
        let (table, what, statement) = match self {
            Self::Usage { schema } => {
                let on = format!("SCHEMA {}", dialect.quote(schema));
                (schema.clone(), "USAGE".to_owned(), grant("USAGE", on))
            }
            Self::Create { schema: Some(schema) } => {
                let on = format!("SCHEMA {}", dialect.quote(schema));
                (schema.clone(), "CREATE".to_owned(), grant("CREATE", on))
            }
            Self::Create { schema: None } => {
                ("search_path".to_owned(), "a schema that it may use".to_owned(), None)
            }
            Self::Table { table, privileges } => {
                let names: Vec<_> = privileges.iter().map(|privilege| privilege.as_str()).collect();
                let names = names.join(", ");
                let statement = grant(&names, dialect.table(table));
                (table.to_string(), names, statement)
            }
        };
        SchemaProblem {
            severity: Severity::Error,
            kind: ProblemKind::MissingPrivilege,
            table,
            column: None,
            message: format!("the role {role} lacks {what}"),
            mending: statement.map_or_else(
                || Mending::Advice(format!("name a schema in the search_path of {role}")),
                Mending::Change,
            ),
        }
    }
}
