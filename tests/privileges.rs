//! What a role may do: the grants of docs/schema.md are enough, and what lacks is named.

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection};
use url::Url;

use crate::support::pipeline::{Pipeline, RULES};
use crate::support::{self, Database};

const PASSWORD: &str = "s3cret-7d1f";

/// Roles, removed when dropped: after the database in which they have rights.
struct Roles {
    server: Url,
    names: Vec<String>,
}

impl Drop for Roles {
    fn drop(&mut self) {
        for name in &self.names {
            let sql = AssertSqlSafe(format!("DROP ROLE IF EXISTS {name}"));
            let _ = support::block_on(async {
                let mut connection = PgConnection::connect(self.server.as_str()).await?;
                sqlx::raw_sql(sql).execute(&mut connection).await
            });
        }
    }
}

/// A database in which the statements of the documentation were run.
struct Ground {
    database: Database,
    roles: Roles,
}

impl Ground {
    fn new(postgres: &str, database: Database) -> Self {
        let (apply, run) = (support::unique("apply"), support::unique("run"));
        let page = include_str!("../docs/schema.md");
        let grants = page.split("```sql\nCREATE SCHEMA").nth(1).expect("the grants");
        let grants = grants.split("```").next().expect("their end");
        let grants = format!("CREATE SCHEMA{grants}")
            .replace("rowcast_apply", &apply)
            .replace("rowcast_run", &run)
            .replace("'...'", &format!("'{PASSWORD}'"));
        database.execute(&grants);
        let server = Url::parse(postgres).expect("a url");
        Self { database, roles: Roles { server, names: vec![apply, run] } }
    }

    fn apply(&self) -> &str {
        &self.roles.names[0]
    }

    fn run(&self) -> &str {
        &self.roles.names[1]
    }

    /// A topology as this role.
    fn pipeline(&self, role: &str, rules: &str) -> Pipeline {
        Pipeline::embedded_at(as_user(self.database.url(), role), rules, "")
    }
}

fn as_user(url: &str, user: &str) -> String {
    let mut url = Url::parse(url).expect("a url");
    url.set_username(user).expect("it takes a user");
    url.set_password(Some(PASSWORD)).expect("it takes a password");
    url.into()
}

/// Exit code and messages.
fn ends(pipeline: &Pipeline, arguments: &[&str]) -> (i32, String) {
    let output = pipeline.command(arguments);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!said.contains(PASSWORD), "{said}");
    (output.status.code().expect("it ended"), said)
}

fn postgres() -> Option<Ground> {
    let server = support::requires_postgres()?;
    let url = std::env::var("ROWCAST_TEST_POSTGRES").ok()?;
    Some(Ground::new(&url, server.database("privileges")))
}

#[test]
fn the_grants_of_the_documentation_are_enough() {
    let Some(ground) = postgres() else { return };
    let (apply, run) =
        (ground.pipeline(ground.apply(), RULES), ground.pipeline(ground.run(), RULES));
    let (code, said) = ends(&apply, &["schema", "apply", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = ends(&run, &["check"]);
    assert_eq!(code, 0, "{said}");
    let patient = |version: u32, rest: &str| {
        format!(r#"{{"resourceType":"Patient","id":"p","meta":{{"versionId":"{version}"}}{rest}}}"#)
    };
    for resource in [patient(1, r#","name":[{"family":"a"}]"#), patient(2, "")] {
        std::fs::write(run.path("p.json"), resource).expect("written");
        run.expect(&["produce", &run.path("p.json")]);
        run.expect(&["run", "--until-idle", "1s"]);
    }
    let count = |table: &str| ground.database.number(&format!("SELECT count(*) FROM {table}"));
    assert_eq!((count("clinical.patient"), count("clinical.patient_name")), (1, 0));
}

#[test]
fn a_privilege_that_lacks_is_named_and_the_grant_that_is_shown_mends_it() {
    let Some(ground) = postgres() else { return };
    let rules = RULES.replacen('{', r#"{ "retainAllHistory": true,"#, 1);
    let (apply, run) =
        (ground.pipeline(ground.apply(), &rules), ground.pipeline(ground.run(), &rules));
    assert_eq!(ends(&apply, &["schema", "apply", "--yes"]).0, 0);
    let role = ground.run();
    for (table, privilege) in [
        ("patient", "SELECT"),
        ("patient", "INSERT"),
        ("patient", "UPDATE"),
        ("patient", "DELETE"),
        ("patient_name", "DELETE"),
        ("patient_history", "INSERT"),
        ("rowcast_task", "UPDATE"),
        ("rowcast_tombstone", "INSERT"),
        ("rowcast_table", "SELECT"),
    ] {
        ground.database.execute(&format!("REVOKE {privilege} ON clinical.{table} FROM {role}"));
        let (code, said) = ends(&run, &["check"]);
        let grant = format!("GRANT {privilege} ON \"{table}\" TO {role};");
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(&format!("{table}: the role {role} lacks {privilege}\n")), "{said}");
        assert!(said.contains(&grant), "{said}");
        let (code, said) = ends(&run, &["run", "--until-idle", "1s"]);
        assert_eq!(code, 78, "{said}");
        // a line of its log, which is JSON here
        assert!(said.replace("\\\"", "\"").contains(&grant), "{said}");
        let grant = grant.replace("ON \"", "ON clinical.\"");
        ground.database.execute(&grant);
    }
    // what it does not do there it need not be granted
    for (table, privilege) in
        [("patient_history", "UPDATE"), ("patient_name", "UPDATE"), ("rowcast_task", "DELETE")]
    {
        ground.database.execute(&format!("REVOKE {privilege} ON clinical.{table} FROM {role}"));
    }
    assert_eq!(ends(&run, &["check"]).0, 0);
}

#[test]
fn a_schema_that_may_not_be_used_or_written_is_named() {
    let Some(ground) = postgres() else { return };
    let qualified = RULES
        .replace(r#""tableName": "patient""#, r#""tableName": "clinical.patient""#)
        .replace(r#""tableName": "patient_name""#, r#""tableName": "clinical.patient_name""#);
    let (role, owner) = (ground.run(), ground.apply());
    let (apply, run) = (ground.pipeline(owner, &qualified), ground.pipeline(role, &qualified));
    let unqualified = ground.pipeline(role, RULES);
    // rowcast's own tables are missing, and it may not make them
    for command in [&["check"][..], &["run", "--until-idle", "1s"]] {
        let (code, said) = ends(&unqualified, command);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(&format!("clinical: the role {role} lacks CREATE")), "{said}");
    }
    ground.database.execute(&format!("REVOKE CREATE ON SCHEMA clinical FROM {owner}"));
    let (code, said) = ends(&apply, &["schema", "apply", "--yes"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("42501") && said.contains("nothing was changed"), "{said}");
    let lacks = format!("clinical: the role {owner} lacks CREATE");
    assert_eq!(said.matches(&lacks).count(), 1, "{said}");
    ground.database.execute(&format!("GRANT CREATE ON SCHEMA clinical TO {owner}"));
    assert_eq!(ends(&apply, &["schema", "apply", "--yes"]).0, 0);
    assert_eq!(ends(&run, &["check"]).0, 0);

    ground.database.execute(&format!("REVOKE USAGE ON SCHEMA clinical FROM {role}"));
    for command in [&["check"][..], &["run", "--until-idle", "1s"]] {
        let (code, said) = ends(&run, command);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains(&format!("clinical: the role {role} lacks USAGE")), "{said}");
        assert!(!said.contains("CREATE TABLE"), "{said}");
        let (code, said) = ends(&unqualified, command);
        assert_eq!(code, 78, "{said}");
        assert!(said.contains("a schema that it may use"), "{said}");
    }
}

#[test]
fn a_user_of_mariadb_learns_what_lacks_too() {
    let Some(server) = support::requires_mariadb() else { return };
    let database = server.database("privileges");
    let admin = Pipeline::embedded_at(database.url().to_owned(), RULES, "");
    assert_eq!(ends(&admin, &["schema", "apply", "--yes"]).0, 0);
    let user = support::unique("u");
    database.execute(&format!("CREATE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'"));
    let run = Pipeline::embedded_at(as_user(database.url(), &user), RULES, "");
    for table in [
        "patient",
        "patient_name",
        "rowcast_task",
        "rowcast_tombstone",
        "rowcast_table",
        "rowcast_resource",
    ] {
        database.execute(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}@'%'"));
    }
    let (code, said) = ends(&run, &["check"]);
    assert_eq!(code, 0, "{said}");
    for (table, privilege) in [
        ("patient", "SELECT"),
        ("patient", "INSERT"),
        ("patient", "UPDATE"),
        ("patient_name", "DELETE"),
        ("rowcast_task", "UPDATE"),
    ] {
        database.execute(&format!("REVOKE {privilege} ON {table} FROM {user}@'%'"));
        let (code, said) = ends(&run, &["check"]);
        assert_eq!(code, 78, "{said}");
        let grant = format!("GRANT {privilege} ON `{table}` TO '{user}'@'%'");
        assert!(
            said.contains(&format!("{table}: the role {user}@% lacks {privilege}\n")),
            "{said}"
        );
        assert!(said.contains(&format!("{grant};")), "{said}");
        assert_eq!(ends(&run, &["run", "--until-idle", "1s"]).0, 78);
        database.execute(&grant);
    }
    assert_eq!(ends(&run, &["check"]).0, 0);
    let drop = AssertSqlSafe(format!("DROP USER {user}@'%'"));
    let dropped = support::block_on(async {
        let mut connection = MySqlConnection::connect(database.url()).await?;
        sqlx::raw_sql(drop).execute(&mut connection).await
    });
    dropped.expect("the user is dropped");
}
