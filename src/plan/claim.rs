//! The statements of rule 8: whose a table is, and under which rules it was filled.
//!
//! In: a dialect. Out: statements over `rowcast_table`, whose `table_name` is resolved with its
//! schema. A row without a topology is claimed by nobody.

use super::dialect::Dialect;
use super::statement::Statement;

/// The statements over `rowcast_table`.
#[derive(Debug)]
pub struct ClaimStatements {
    /// Makes sure that there is a row. Constant: the table's name.
    pub ensure: Statement,
    /// Claims a table that is nobody's. Constants: topology, rules hash, the table's name.
    pub claim: Statement,
    /// Writes whose a table is, whosever it was. Constants: as above.
    pub record: Statement,
    /// Reads a claim. Constant: the table's name. Returns topology and rules hash.
    pub read: Statement,
    /// The same, and locks the row.
    pub lock: Statement,
}

impl ClaimStatements {
    /// The statements of a dialect.
    #[must_use]
    pub fn new(dialect: &dyn Dialect) -> Self {
        let bind = |number: usize| dialect.placeholder(number);
        let attempted = "claiming a table";
        let fixed = |text: String| Statement::fixed(attempted, Vec::new(), text);
        let update = format!(
            "UPDATE rowcast_table SET topology = {}, rules_hash = {} WHERE table_name = {}",
            bind(1),
            bind(2),
            bind(3)
        );
        let read = format!(
            "SELECT topology, rules_hash FROM rowcast_table WHERE table_name = {}",
            bind(1)
        );
        Self {
            ensure: fixed(format!(
                "INSERT INTO rowcast_table (table_name) VALUES ({}) {}",
                bind(1),
                dialect.on_conflict("table_name", None)
            )),
            claim: fixed(format!("{update} AND topology IS NULL")),
            record: fixed(update),
            lock: fixed(format!("{read}{}", dialect.locking(""))),
            read: Statement::fixed("reading a table's claim", Vec::new(), read),
        }
    }
}
