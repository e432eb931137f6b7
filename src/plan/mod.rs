//! Rows become SQL.
//!
//! In: changes that have become rows, the catalog of tables, and what the live tables look like.
//! Out: the fold of a batch, the text of every statement and the cells to bind to it, the DDL of
//! the tables, and what a live schema lacks. It never touches a database, a clock or a random
//! number; `sink` carries out what is planned here, in the order that DESIGN's guard rules ask.

mod bookkeeping;
mod cell;
mod claim;
mod comment;
mod ddl;
mod dialect;
mod fold;
mod found_by;
mod history;
mod live;
mod mysql;
mod names;
mod postgres;
mod privileges;
mod rebuild;
#[cfg(test)]
mod sample;
mod schema;
mod shown;
mod sqlite;
mod statement;
mod target;

pub use bookkeeping::{
    OwnTable, OwnType, bookkeeping_ddl, compare_bookkeeping, missing_bookkeeping,
};
pub use cell::{BindColumn, BindError, BindType, Cell, Rows};
pub use claim::ClaimStatements;
pub use comment::Comments;
pub use ddl::{ForeignKeys, TableKind, catalog_ddl, schemas, table_ddl, tables_of};
pub use dialect::{Accepted, Access, Admission, Dialect};
pub use fold::{DeleteWithoutVersion, Folded, Leaves, fold};
pub use found_by::FoundBy;
pub use history::{history_cells, history_id};
pub use live::{LiveColumn, LiveSchema, LiveTable};
pub use mysql::Mysql;
pub use postgres::Postgres;
pub use privileges::{Lack, Needed, Privilege, needed};
pub use rebuild::{Emptying, RebuildStatements};
pub use schema::{Mending, ProblemKind, SchemaProblem, Severity, broken, compare, creating};
pub use shown::listed;
pub use sqlite::Sqlite;
pub use statement::{Statement, Step};
pub use target::{RootStatements, TableStatements, Target, TargetColumn, TaskStatements, resolved};
