//! `rowcast schema`: the tables that the rules ask for; what the live ones lack; and the statements
//! that create it.

mod apply;
mod diff;

use super::{Failure, Output, TopologyArguments, print};
use crate::plan::{Dialect, ForeignKeys, bookkeeping_ddl, catalog_ddl};
use crate::sink::DatabaseKind;

const EXAMPLES: &str = "\
Examples:
  rowcast schema --topology clinical.yaml        the tables, as DDL; no connection needed
  rowcast schema diff --topology clinical.yaml   what the live ones lack
  rowcast schema apply --topology clinical.yaml  create it";

const SHOW_EXAMPLES: &str = "\
Examples:
  rowcast schema show --topology clinical.yaml
  rowcast schema show --topology clinical.yaml --dialect mysql --without-foreign-keys";

const DIFF_EXAMPLES: &str = "\
Examples:
  rowcast schema diff --topology clinical.yaml
  rowcast schema diff --topology clinical.yaml --output json";

const APPLY_EXAMPLES: &str = "\
Examples:
  rowcast schema apply --topology clinical.yaml
  rowcast schema apply --topology clinical.yaml --yes  does not ask: for scripts";

/// Options of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    topology: Option<TopologyArguments>,
    #[command(flatten)]
    show: Shown,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the DDL for the rules; needs no connection. The default.
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        #[command(flatten)]
        topology: TopologyArguments,
        #[command(flatten)]
        show: Shown,
    },
    /// Compare the live schema with the rules: what is missing, does not fit, or is not filled.
    ///
    /// Changes nothing. Exit code 78 if something would make writes fail.
    #[command(after_help = DIFF_EXAMPLES)]
    Diff {
        #[command(flatten)]
        topology: TopologyArguments,
        /// How to print it.
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Create what is missing: schemas, tables, columns (which take NULL), keys and indexes.
    ///
    /// Never drops, narrows or changes anything that is there: what that would take is named, and the
    /// exit code is then 78. Shows the statements and asks first.
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        #[command(flatten)]
        topology: TopologyArguments,
        #[command(flatten)]
        foreign_keys: ForeignKeyArguments,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Shown {
    /// Whose DDL; default: that of the database the topology names.
    #[arg(long, value_enum)]
    dialect: Option<DialectName>,
    #[command(flatten)]
    foreign_keys: ForeignKeyArguments,
}

#[derive(Debug, Clone, Copy, clap::Args)]
struct ForeignKeyArguments {
    /// Child tables do not refer to their parents': a little less work for each child row.
    #[arg(long)]
    without_foreign_keys: bool,
}

impl From<ForeignKeyArguments> for ForeignKeys {
    fn from(arguments: ForeignKeyArguments) -> Self {
        if arguments.without_foreign_keys { Self::LeftOut } else { Self::Declared }
    }
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum DialectName {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    #[value(alias = "mariadb")]
    Mysql,
    /// SQLite.
    Sqlite,
}

impl DialectName {
    fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::Postgres => DatabaseKind::Postgres,
            Self::Mysql => DatabaseKind::Mysql,
            Self::Sqlite => DatabaseKind::Sqlite,
        }
        .dialect()
    }
}

pub(super) async fn schema(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Some(Command::Show { topology, show }) => print_ddl(&topology, &show),
        Some(Command::Diff { topology, output }) => {
            diff::diff(&super::open(&topology)?, output).await
        }
        Some(Command::Apply { topology, foreign_keys, yes }) => {
            apply::apply(&super::open(&topology)?, foreign_keys.into(), yes).await
        }
        None => match arguments.topology {
            Some(topology) => print_ddl(&topology, &arguments.show),
            None => Err(Failure::usage("which topology? say --topology FILE")),
        },
    }
}

/// All tables, the bookkeeping tables first, as one script.
fn print_ddl(topology: &TopologyArguments, show: &Shown) -> Result<(), Failure> {
    let application = super::open(topology)?;
    let dialect = show.dialect.map_or_else(|| application.dialect(), DialectName::dialect);
    let mut statements: Vec<_> = bookkeeping_ddl(dialect).into_iter().map(|(_, ddl)| ddl).collect();
    statements.extend(catalog_ddl(dialect, application.catalog(), show.foreign_keys.into()));
    print::line(script(&statements))?;
    Ok(())
}

/// Statements for a reader, a pipe or a file: what belongs to a table follows it.
fn script(statements: &[String]) -> String {
    let mut script = String::new();
    for ddl in statements {
        if !script.is_empty() {
            script.push_str(if ddl.contains('\n') { "\n\n" } else { "\n" });
        }
        script.push_str(ddl);
        script.push(';');
    }
    script
}
