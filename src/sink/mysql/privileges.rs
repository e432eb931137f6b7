//! What a user of MySQL or MariaDB is not granted.
//!
//! In: what `run` does. Out: what of it the server would refuse. Grants come by user, host, role,
//! database, table and column, so that only the server knows: it is asked to prepare a statement, which
//! checks the privileges and runs nothing.

use std::collections::BTreeSet;

use sqlx::{Executor as _, MySql, Row as _};

use super::judge;
use crate::plan::{Dialect, Lack, Mysql, Needed, Privilege};
use crate::sink::SinkError;
use crate::sink::classify::Attempt;
use crate::sink::connections::Connections;
use crate::sink::database::{Lacks, answer, asserted};

const ATTEMPTED: &str = "reading the user's privileges";

/// A command, and a column, that is not granted.
const DENIED: [u16; 2] = [1142, 1143];

pub(super) async fn lacks(
    connections: &Connections<MySql>,
    needed: &[Needed],
) -> Result<Lacks, SinkError> {
    let failed = |error| Attempt::to(ATTEMPTED).failed(error, judge);
    let (_turn, mut connection) = connections.acquire(ATTEMPTED).await?;
    let limit = connections.settings().answer_limit();
    let mut lacks = Lacks::default();
    answer(limit, ATTEMPTED, async {
        let row = sqlx::query(USER).fetch_one(&mut *connection).await.map_err(failed)?;
        lacks.role = row.try_get(0).map_err(failed)?;
        lacks.grantee = row.try_get(1).map_err(failed)?;
        Ok(())
    })
    .await?;
    for needed in needed {
        let mut privileges = BTreeSet::new();
        for privilege in needed.privileges {
            let text = asserted(attempt(*privilege, needed).into());
            let prepared = answer(limit, ATTEMPTED, async {
                Ok((&mut *connection).prepare(text).await.map(drop))
            });
            match prepared.await? {
                Err(sqlx::Error::Database(error)) if is_denied(&*error) => {
                    privileges.insert(*privilege);
                }
                // a table or column that is missing is told by who compares the schema
                Ok(()) | Err(sqlx::Error::Database(_)) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        if !privileges.is_empty() {
            lacks.found.push(Lack::Table { table: needed.table.clone(), privileges });
        }
    }
    Ok(lacks)
}

fn is_denied(error: &dyn sqlx::error::DatabaseError) -> bool {
    let error = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
    error.is_some_and(|error| DENIED.contains(&error.number()))
}

/// A statement that takes this privilege and no other.
fn attempt(privilege: Privilege, needed: &Needed) -> String {
    let (table, column) = (Mysql.table(&needed.table), Mysql.quote(&needed.column));
    match privilege {
        Privilege::Select => format!("SELECT {column} FROM {table}"),
        Privilege::Insert => format!("INSERT INTO {table} ({column}) VALUES (NULL)"),
        Privilege::Update => format!("UPDATE {table} SET {column} = NULL"),
        Privilege::Delete => format!("DELETE FROM {table}"),
    }
}

/// The user, and how a GRANT names it: the host is what follows the last `@`.
const USER: &str = "\
SELECT CAST(u AS char), CAST(CONCAT(QUOTE(LEFT(u, CHAR_LENGTH(u) - CHAR_LENGTH(h) - 1)), '@', QUOTE(h)) \
AS char) FROM (SELECT CURRENT_USER() AS u, SUBSTRING_INDEX(CURRENT_USER(), '@', -1) AS h) AS t";
