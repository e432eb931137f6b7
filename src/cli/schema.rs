//! `rowcast schema`: the DDL for the rules.

use super::{Failure, TopologyArguments};
use crate::application::Application;
use crate::plan::catalog_ddl;

/// Options of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
}

pub(super) fn schema(arguments: &Arguments) -> Result<(), Failure> {
    println!("{}", ddl(&super::open(&arguments.topology)?));
    Ok(())
}

/// All tables, the bookkeeping tables first, as one script.
fn ddl(application: &Application) -> String {
    let dialect = application.dialect();
    let bookkeeping = dialect.bookkeeping_ddl().map(|(_, ddl)| ddl.to_owned());
    let mut statements = Vec::from(bookkeeping);
    statements.extend(catalog_ddl(dialect, application.catalog()));
    statements
        .iter()
        .map(|ddl| format!("{};", ddl.trim_end().trim_end_matches(';')))
        .collect::<Vec<_>>()
        .join("\n\n")
}
