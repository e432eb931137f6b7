//! Databases to test against, and two small catalogs: patients with addresses with lines, and views
//! of patients' names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rowcast::error::Refusal;
use rowcast::model::{
    Catalog, Column, ColumnSource, ColumnType, Guard, Offset, Origin, ResourceKey, ResourceRows,
    RootTable, RowChange, RowOperation, RowSet, Table, TableName, TopicPartition, Value, Version,
};
use rowcast::plan::{ForeignKeys, SchemaProblem, catalog_ddl, creating};
use rowcast::sink::{
    DatabaseKind, DatabaseSchema, Outcome, Owner, Sink, SinkError, SqlSink, TaskIdentity, write,
};
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, SqlitePool};
use uuid::Uuid;

/// Name databases to test against in addition to SQLite.
const POSTGRES: &str = "ROWCAST_TEST_POSTGRES";
const MARIADB: &str = "ROWCAST_TEST_MARIADB";
/// Names the only database to test against: to see a test fail on each (`tests/mutations.sh`).
const ONLY: &str = "ROWCAST_TEST_ONLY";

static SCHEMAS: AtomicU32 = AtomicU32::new(0);

enum Admin {
    Postgres(PgPool),
    Mysql(MySqlPool),
    Sqlite(SqlitePool, tempfile::TempDir),
}

/// An empty database, or an empty schema of one.
pub(crate) struct TestDatabase {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    admin: Admin,
}

/// All databases at hand, SQLite always; the only one that [`ONLY`] names.
pub(crate) async fn databases() -> Vec<TestDatabase> {
    let only = std::env::var(ONLY).ok();
    let wanted = |name| only.as_deref().is_none_or(|only| only == name);
    let mut all = Vec::new();
    if wanted("sqlite") {
        all.push(sqlite().await);
    }
    if let Some(url) = std::env::var(POSTGRES).ok().filter(|_| wanted("postgres")) {
        all.push(postgres(&url).await);
    }
    if let Some(url) = std::env::var(MARIADB).ok().filter(|_| wanted("mariadb")) {
        all.push(mariadb(&url).await);
    }
    all
}

pub(crate) async fn sqlite() -> TestDatabase {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("test.db").display());
    let admin = SqlitePool::connect_lazy(&format!("{url}?mode=rwc")).unwrap();
    TestDatabase { name: "sqlite", url, admin: Admin::Sqlite(admin, directory) }
}

pub(crate) async fn postgres(url: &str) -> TestDatabase {
    let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
    let schema = format!("test_{}_{number}", std::process::id());
    let admin = PgPool::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&admin).await.unwrap();
    let mark = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{mark}application_name={schema}&options=-c%20search_path%3D{schema}");
    let admin = PgPool::connect_lazy(&url).unwrap();
    TestDatabase { name: "postgres", url, admin: Admin::Postgres(admin) }
}

/// What MariaDB calls a database is a schema elsewhere: a new one.
pub(crate) async fn mariadb(url: &str) -> TestDatabase {
    let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
    let schema = format!("test_{}_{number}", std::process::id());
    let admin = MySqlPool::connect(url).await.unwrap();
    let create = format!("CREATE DATABASE {schema} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&admin).await.unwrap();
    admin.close().await;
    let mut url = url::Url::parse(url).unwrap();
    url.set_path(&schema);
    let admin = MySqlPool::connect_lazy(url.as_str()).unwrap();
    TestDatabase { name: "mariadb", url: url.into(), admin: Admin::Mysql(admin) }
}

/// What would mend all of it, whether it adds or changes.
pub(crate) fn statements(problems: &[SchemaProblem]) -> Vec<String> {
    problems.iter().flat_map(|problem| problem.mending.statements()).cloned().collect()
}

/// A sink over the catalog.
pub(crate) async fn sink_at(url: &str, catalog: Catalog) -> SqlSink {
    let identity = TaskIdentity { cluster_id: "cluster".into(), name: "topology".into() };
    SqlSink::connect(url, 2, Arc::new(catalog), identity).await.unwrap()
}

impl TestDatabase {
    /// A SQLite file elsewhere.
    pub(crate) fn sqlite_at(path: &std::path::Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", path.display());
        let admin = SqlitePool::connect_lazy(&format!("{url}?mode=rwc")).unwrap();
        Self { name: "sqlite", url, admin: Admin::Sqlite(admin, directory) }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.admin, Admin::Postgres(_))
    }

    pub(crate) fn is_mariadb(&self) -> bool {
        matches!(self.admin, Admin::Mysql(_))
    }

    /// What this database takes of three.
    pub(crate) fn pick<T>(&self, postgres: T, mariadb: T, sqlite: T) -> T {
        match &self.admin {
            Admin::Postgres(_) => postgres,
            Admin::Mysql(_) => mariadb,
            Admin::Sqlite(..) => sqlite,
        }
    }

    pub(crate) fn quote(&self, identifier: &str) -> String {
        DatabaseKind::of_url(&self.url).unwrap().dialect().quote(identifier)
    }

    pub(crate) fn file(&self) -> Option<std::path::PathBuf> {
        match &self.admin {
            Admin::Postgres(_) | Admin::Mysql(_) => None,
            Admin::Sqlite(_, directory) => Some(directory.path().join("test.db")),
        }
    }

    /// A sink over the catalog, the tables still missing.
    pub(crate) async fn bare_sink(&self, catalog: Catalog) -> SqlSink {
        sink_at(&self.url, catalog).await
    }

    /// The schema beside the catalog, rowcast's own tables too.
    pub(crate) fn schema(&self, catalog: &Catalog) -> DatabaseSchema {
        DatabaseSchema::open(&self.url, Arc::new(catalog.clone())).unwrap()
    }

    /// Creates what is missing, as `schema apply` does.
    pub(crate) async fn apply_schema(&self, catalog: &Catalog) {
        let schema = self.schema(catalog);
        let missing = creating(&schema.compare(ForeignKeys::Declared).await.unwrap());
        schema.execute(&missing).await.unwrap();
        schema.close().await;
    }

    /// A sink over the catalog with the tables that `schema apply` makes.
    pub(crate) async fn sink(&self, catalog: Catalog) -> TestSink<'_> {
        self.apply_schema(&catalog).await;
        let sink = self.bare_sink(catalog).await;
        assert_eq!(sink.check_schema().await.unwrap(), [], "our own DDL fits: {}", self.name);
        TestSink::new(self, sink).await
    }

    /// The DDL of a catalog in the database's dialect.
    pub(crate) fn schema_ddl(&self, catalog: &Catalog) -> Vec<String> {
        let dialect = DatabaseKind::of_url(&self.url).unwrap().dialect();
        catalog_ddl(dialect, catalog, ForeignKeys::Declared)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.unwrap();
    }

    /// Whether the database refuses a statement.
    pub(crate) async fn refuses(&self, sql: &str) -> bool {
        self.try_execute(sql).await.is_err()
    }

    async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.admin {
            Admin::Postgres(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Admin::Mysql(pool) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
            Admin::Sqlite(pool, _) => sqlx::raw_sql(sql).execute(pool).await.map(drop),
        }
    }

    /// Rows, their cells as text joined by `|`.
    pub(crate) async fn rows(&self, from: &str, columns: &[&str]) -> Vec<String> {
        let text = self.pick("text", "char", "text");
        let cells: Vec<_> = columns
            .iter()
            .map(|column| format!("COALESCE(CAST({column} AS {text}), 'null')"))
            .collect();
        let cells = cells.join(self.pick(" || '|' || ", ", '|', ", " || '|' || "));
        let cells = self.pick(cells.clone(), format!("CONCAT({cells})"), cells);
        let sql = AssertSqlSafe(format!("SELECT {cells} FROM {from}"));
        let rows = match &self.admin {
            Admin::Postgres(pool) => sqlx::query_scalar(sql).fetch_all(pool).await,
            Admin::Mysql(pool) => sqlx::query_scalar(sql).fetch_all(pool).await,
            Admin::Sqlite(pool, _) => sqlx::query_scalar(sql).fetch_all(pool).await,
        };
        let mut rows: Vec<String> = rows.unwrap();
        rows.sort();
        rows
    }

    pub(crate) async fn patients(&self) -> Vec<String> {
        self.rows("patient", &["source_resource_id", "version", "name"]).await
    }

    pub(crate) async fn addresses(&self) -> Vec<String> {
        self.rows("patient_address", &["source_resource_id", "city"]).await
    }

    pub(crate) async fn lines(&self) -> Vec<String> {
        self.rows("patient_address_line", &["source_resource_id", "line"]).await
    }

    pub(crate) async fn tombstones(&self) -> Vec<String> {
        let columns = ["source_resource_id", "version", "origin_offset", "refused_offset"];
        self.rows("rowcast_tombstone", &columns).await
    }

    /// The guards of views, with the tables' names as the rules write them.
    pub(crate) async fn guards(&self) -> Vec<String> {
        let columns = ["table_name", "source_resource_id", "version"];
        let guards = self.rows("rowcast_resource", &columns).await;
        let unqualified = guards.iter().map(|guard| guard.split_once('.').unwrap().1.to_owned());
        unqualified.collect()
    }

    /// A schema beside the usual one, quoted; SQLite has but one.
    pub(crate) async fn other_schema(&self) -> String {
        if matches!(self.admin, Admin::Sqlite(..)) {
            return "main".to_owned();
        }
        let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
        let schema = format!("Clinical {}_{number}", std::process::id());
        self.execute(&format!("CREATE SCHEMA {}", self.quote(&schema))).await;
        schema
    }
}

/// A sink, and the right to write partition 0 of topic `patients`.
pub(crate) struct TestSink<'a> {
    pub(crate) database: &'a TestDatabase,
    pub(crate) sink: SqlSink,
    pub(crate) owner: Owner,
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("patients", 0)
}

impl<'a> TestSink<'a> {
    pub(crate) async fn new(database: &'a TestDatabase, sink: SqlSink) -> TestSink<'a> {
        let epoch = sink.take_over(&partition()).await.unwrap().epoch;
        Self { database, sink, owner: Owner::Task { partition: partition(), epoch } }
    }

    /// Applies a batch in one transaction that must commit.
    pub(crate) async fn apply(&self, changes: &[RowChange]) -> Vec<Option<Outcome>> {
        self.try_apply(changes).await.unwrap()
    }

    pub(crate) async fn try_apply(
        &self,
        changes: &[RowChange],
    ) -> Result<Vec<Option<Outcome>>, SinkError> {
        let changes: Vec<_> = changes.iter().collect();
        self.sink.apply(&self.owner, &changes, None).await
    }

    /// Applies a batch with isolation.
    pub(crate) async fn write(&self, changes: &[RowChange]) -> Vec<Result<Outcome, Refusal>> {
        write(&self.sink, &self.owner, changes, None).await.unwrap()
    }
}

fn column(name: &str, column_type: ColumnType, source: ColumnSource) -> Column {
    Column { name: name.into(), column_type, maximum_size: None, source, optional: false }
}

pub(crate) fn rule(name: &str, column_type: ColumnType) -> Column {
    let source =
        ColumnSource::Rule { rule: "rules/test.json#/transformers/0".into(), path: name.into() };
    column(name, column_type, source)
}

/// The managed columns of a table, then others.
pub(crate) fn table(name: &str, parent: Option<usize>, columns: Vec<Column>) -> Table {
    let mut all = vec![
        column("id", ColumnType::Uuid, ColumnSource::Id),
        column("version", ColumnType::BigInt, ColumnSource::Version),
        column("source_resource_id", ColumnType::String, ColumnSource::SourceResourceId),
    ];
    if parent.is_some() {
        all[1].optional = true;
        all.push(column("parent_reference", ColumnType::Uuid, ColumnSource::ParentReference));
    }
    all.extend(columns);
    Table { name: TableName::parse(name), columns: all, parent }
}

pub(crate) fn catalog_of(tables: Vec<Table>, history: bool) -> Catalog {
    let rule = "rules/test.json#/transformers/0".into();
    Catalog {
        roots: vec![RootTable {
            resource_type: "Patient".into(),
            guard: Guard::RootRow,
            tables,
            history,
            rule,
        }],
    }
}

/// The root of a view of patients: its table has `id` and `version` only where a user added them.
pub(crate) fn view(name: &str, columns: Vec<Column>) -> RootTable {
    let version = column("version", ColumnType::BigInt, ColumnSource::Version);
    let resource = column("source_resource_id", ColumnType::String, ColumnSource::SourceResourceId);
    let guard = Table {
        name: TableName::parse("rowcast_resource"),
        columns: vec![resource.clone(), version.clone()],
        parent: None,
    };
    let mut all = vec![column("id", ColumnType::Uuid, ColumnSource::Id), version, resource];
    all[0].optional = true;
    all[1].optional = true;
    all.extend(columns);
    let table = Table { name: TableName::parse(name), columns: all, parent: Some(0) };
    RootTable {
        resource_type: "Patient".into(),
        guard: Guard::ResourceTable,
        tables: vec![guard, table],
        history: false,
        rule: "rules/view.json".into(),
    }
}

/// Views of patients' names; a `name` takes 20 characters.
pub(crate) fn views(tables: &[&str]) -> Catalog {
    let mut name = rule("name", ColumnType::String);
    name.maximum_size = Some(20);
    Catalog { roots: tables.iter().map(|table| view(table, vec![name.clone()])).collect() }
}

/// Patients with addresses with lines; `name` takes 20 characters.
pub(crate) fn catalog() -> Catalog {
    let mut name = rule("name", ColumnType::String);
    name.maximum_size = Some(20);
    catalog_of(
        vec![
            table("patient", None, vec![name]),
            table("patient_address", Some(0), vec![rule("city", ColumnType::String)]),
            table("patient_address_line", Some(1), vec![rule("line", ColumnType::String)]),
        ],
        false,
    )
}

pub(crate) fn with_history() -> Catalog {
    let mut catalog = catalog();
    catalog.roots[0].history = true;
    catalog
}

pub(crate) fn row_id(table: &str, id: &str, element: usize) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{table}/{id}/{element}").as_bytes())
}

fn managed(table: &str, id: &str, version: i64, element: usize) -> Vec<Value> {
    vec![Value::Uuid(row_id(table, id, element)), Value::Int(version), Value::Text(id.into())]
}

/// The rows of a patient: one address per city, one line per address.
fn patient_rows(id: &str, version: i64, name: Value, cities: &[&str]) -> ResourceRows {
    let mut patient = managed("patient", id, version, 0);
    patient.push(name);
    let mut addresses = Vec::new();
    let mut lines = Vec::new();
    for (at, city) in cities.iter().enumerate() {
        let mut address = managed("address", id, version, at);
        address.push(Value::Uuid(row_id("patient", id, 0)));
        address.push(Value::Text((*city).into()));
        addresses.push(address);
        let mut line = managed("line", id, version, at);
        line.push(Value::Uuid(row_id("address", id, at)));
        line.push(Value::Text(format!("{city} 1").into()));
        lines.push(line);
    }
    let sets = [vec![patient], addresses, lines];
    let sets = sets.into_iter().enumerate().map(|(table, rows)| RowSet { table, rows });
    ResourceRows { root: 0, row_sets: Some(sets.collect()) }
}

pub(crate) fn change(id: &str, offset: i64, operation: RowOperation) -> RowChange {
    RowChange {
        resource: ResourceKey { resource_type: "Patient".into(), id: id.into() },
        operation,
        origin: Origin { source: partition(), offset: Offset(offset), index: 0 },
    }
}

fn upsert_rows(id: &str, version: i64, offset: i64, rows: ResourceRows) -> RowChange {
    let version = Version::new(version).unwrap();
    change(id, offset, RowOperation::Upsert { version, rows: vec![rows] })
}

/// A patient with these names in each of the views.
pub(crate) fn shown_in_all(id: &str, version: i64, offset: i64, views: &[&[&str]]) -> RowChange {
    let rows_of = |(root, names): (usize, &&[&str])| {
        let guard = vec![Value::Text(id.into()), Value::Int(version)];
        let rows = (0..).zip(*names).map(|(at, name)| {
            let mut row = managed("view", id, version, at);
            row.push(Value::Text((*name).into()));
            row
        });
        let sets = [vec![guard], rows.collect()];
        let sets = sets.into_iter().enumerate().map(|(table, rows)| RowSet { table, rows });
        ResourceRows { root, row_sets: Some(sets.collect()) }
    };
    let rows = views.iter().enumerate().map(rows_of).collect();
    let version = Version::new(version).unwrap();
    change(id, offset, RowOperation::Upsert { version, rows })
}

/// A patient with these names in the only view.
pub(crate) fn shown(id: &str, version: i64, offset: i64, names: &[&str]) -> RowChange {
    shown_in_all(id, version, offset, &[names])
}

/// A patient whose name and only city tell its version.
pub(crate) fn upsert(id: &str, version: i64, offset: i64) -> RowChange {
    upsert_as(id, version, offset, &version.to_string())
}

/// A patient whose name and only city tell this.
pub(crate) fn upsert_as(id: &str, version: i64, offset: i64, content: &str) -> RowChange {
    let name = Value::Text(format!("name {content}").into());
    upsert_rows(id, version, offset, patient_rows(id, version, name, &[&format!("city {content}")]))
}

pub(crate) fn named(id: &str, version: i64, offset: i64, name: Value) -> RowChange {
    upsert_rows(id, version, offset, patient_rows(id, version, name, &[]))
}

pub(crate) fn living_in(id: &str, version: i64, offset: i64, cities: &[&str]) -> RowChange {
    let name = Value::Text("n".into());
    upsert_rows(id, version, offset, patient_rows(id, version, name, cities))
}

/// A version that the transformer's `where` leaves out.
pub(crate) fn left_out(id: &str, version: i64, offset: i64) -> RowChange {
    upsert_rows(id, version, offset, ResourceRows { root: 0, row_sets: None })
}

/// A row of a catalog with one root table without children.
pub(crate) fn plain(id: &str, version: i64, values: Vec<Value>) -> RowChange {
    let mut row = managed("plain", id, version, 0);
    row.extend(values);
    let row_sets = Some(vec![RowSet { table: 0, rows: vec![row] }]);
    upsert_rows(id, version, version, ResourceRows { root: 0, row_sets })
}

pub(crate) fn delete(id: &str, version: i64, offset: i64) -> RowChange {
    change(id, offset, RowOperation::Delete { version: Version::new(version) })
}

pub(crate) fn delete_what_is_there(id: &str, offset: i64) -> RowChange {
    change(id, offset, RowOperation::Delete { version: None })
}
