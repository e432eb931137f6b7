//! What a PostgreSQL role is not granted.
//!
//! In: what `run` does. Out: what of it the server would refuse, by its own functions. A grant on some
//! columns is taken for one on the table: those of the rules are all asked for by the first write.

use std::collections::BTreeSet;

use sqlx::Row;

use super::PostgresDatabase;
use crate::plan::{Dialect, Lack, Needed, Postgres, Privilege};
use crate::sink::SinkError;
use crate::sink::classify::{self, Attempt};
use crate::sink::database::Lacks;

const ATTEMPTED: &str = "reading the role's privileges";

impl PostgresDatabase {
    pub(super) async fn read_lacks(
        &self,
        schemas: &[&str],
        needed: &[Needed],
    ) -> Result<Lacks, SinkError> {
        let failed = |error| Attempt::to(ATTEMPTED).failed(error, classify::postgres);
        let mut lacks = Lacks::default();
        for row in self.query(ATTEMPTED, ROLE, "CREATE").await? {
            lacks.role = row.try_get(0).map_err(failed)?;
            lacks.grantee = row.try_get(1).map_err(failed)?;
        }
        for schema in schemas {
            if !self.query(ATTEMPTED, CLOSED, schema).await?.is_empty() {
                lacks.found.push(Lack::Usage { schema: (*schema).to_owned() });
            }
        }
        // a table of such a schema cannot be asked about
        let is_closed = |needed: &&Needed| {
            let closed = |lack: &Lack| matches!(lack, Lack::Usage { schema } if Some(&**schema) == needed.table.schema.as_deref());
            lacks.found.iter().any(closed)
        };
        let open: Vec<&Needed> = needed.iter().filter(|needed| !is_closed(needed)).collect();
        let mut is_own_missing = false;
        for needed in open {
            let quoted = Postgres.table(&needed.table);
            let answers = self.query(ATTEMPTED, MISSING, &quoted).await?;
            let Some(row) = answers.first() else { continue };
            let missing: Option<Vec<String>> = row.try_get(0).map_err(failed)?;
            let Some(missing) = missing else {
                is_own_missing |= needed.is_own;
                continue;
            };
            let is_missing =
                |privilege: &&Privilege| missing.iter().any(|name| name == privilege.as_str());
            let privileges: BTreeSet<_> =
                needed.privileges.iter().filter(is_missing).copied().collect();
            if !privileges.is_empty() {
                lacks.found.push(Lack::Table { table: needed.table.clone(), privileges });
            }
        }
        if is_own_missing {
            lacks.found.extend(self.lacks_create(None).await?);
        }
        Ok(lacks)
    }

    /// Whether tables may be created in a schema, or in the one that the search path leads to.
    pub(super) async fn lacks_create(
        &self,
        schema: Option<&str>,
    ) -> Result<Option<Lack>, SinkError> {
        let failed = |error| Attempt::to(ATTEMPTED).failed(error, classify::postgres);
        let rows = self.query(ATTEMPTED, UNCREATABLE, schema.unwrap_or_default()).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Lack::Create { schema: row.try_get(0).map_err(failed)? }))
    }
}

/// The role, and how a GRANT names it.
const ROLE: &str = "SELECT current_user::text, quote_ident(current_user)::text WHERE $1 <> ''";

/// A row, if the schema is there and may not be used.
const CLOSED: &str =
    "SELECT 1 FROM pg_namespace WHERE nspname = $1 AND NOT has_schema_privilege(oid, 'USAGE')";

/// The schema, if no table may be created in it; NULL if the search path leads to none.
const UNCREATABLE: &str = "\
SELECT n.nspname::text FROM (SELECT COALESCE(NULLIF($1, ''), current_schema()) AS name) AS s \
LEFT JOIN pg_namespace n ON n.nspname = s.name \
WHERE n.oid IS NULL AND $1 = '' OR NOT has_schema_privilege(n.oid, 'CREATE')";

/// What lacks of a table; NULL if there is none of this name.
const MISSING: &str = "\
SELECT CASE WHEN t.oid IS NOT NULL THEN ARRAY(\
SELECT p FROM unnest('{SELECT,INSERT,UPDATE}'::text[]) AS p \
WHERE NOT has_any_column_privilege(t.oid, p) UNION ALL \
SELECT 'DELETE' WHERE NOT has_table_privilege(t.oid, 'DELETE')) END \
FROM (SELECT to_regclass($1)::oid AS oid) AS t";
