//! `rowcast demo`: a made-up hospital from topic to tables, with nothing installed.
//!
//! Everything happens in one folder: the log of the embedded broker, the SQLite database, the
//! topology and its rules, so that every other command can be tried on them afterwards.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use sqlx::{Column as _, Row as _, SqliteConnection};

use super::table::table;
use super::{Failure, TopologyArguments, dead_letters};
use crate::application::Application;
use crate::error::counted;
use crate::model::Reveal;
use crate::telemetry::logs::{self, LogFormat};
use hospital::Hospital;

mod hospital;

/// The files of the folder: name and content.
const FILES: [(&str, &str); 4] = [
    ("demo.yaml", include_str!("../../../topology/demo.yaml")),
    ("rules/patient.json", include_str!("../../../topology/rules/patient.json")),
    ("rules/encounter.json", include_str!("../../../topology/rules/encounter.json")),
    ("rules/observation.json", include_str!("../../../topology/rules/observation.json")),
];

/// What a former demo left in the folder and this one makes anew.
const MADE: [&str; 2] = ["demo.db", "demo-log.db"];

/// Rows of a table that are shown.
const SHOWN_ROWS: usize = 3;
/// Columns of a row that are shown: what fits a terminal.
const SHOWN_COLUMNS: usize = 6;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Folder for the demo's files; those of a former demo are replaced.
    #[arg(long, value_name = "DIR", default_value = "rowcast-demo")]
    dir: PathBuf,
    /// Patients in the hospital.
    #[arg(long, default_value_t = 1500)]
    patients: usize,
    /// Seed of the hospital: the same seed makes the same records.
    #[arg(long, default_value_t = 20_260_101)]
    seed: u64,
}

pub(super) async fn demo(arguments: Arguments) -> Result<(), Failure> {
    logs::start(LogFormat::Auto, Some("error"), Reveal::Nothing);
    let topology = prepare_folder(&arguments.dir)?;
    let application = super::load(&TopologyArguments {
        topology: topology.clone(),
        settings: vec!["http.listen=127.0.0.1:0".to_owned().into()],
    })?;
    application.create_tables().await?;

    let hospital = Hospital { seed: arguments.seed, patients: arguments.patients };
    let topic = application.topology().only_topic();
    let topic = topic.ok_or_else(|| Failure::failed("internal: demo topic"))?;
    let records = hospital.records(topic);
    let count = counted(records.len(), "record");
    println!("1. {count} of a made-up hospital go to topic {topic}");
    feed(&application, records).await?;

    println!("2. rowcast runs the topology until the topic is settled");
    let started = Instant::now();
    let idle = Duration::from_secs(1);
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner.set_message("decode -> transform -> plan -> sink -> commit");
    let ended = application.run_until_idle(idle).await;
    spinner.finish_and_clear();
    ended?;
    let seconds = started.elapsed().saturating_sub(idle).as_secs_f64();
    println!("   settled in {seconds:.1} s\n");

    println!("3. what is in the tables now");
    show_tables(&application, &arguments.dir).await?;

    println!("4. what could not become rows, and why");
    println!("{}\n", dead_letters::by_cause(&application).await?);

    let file = topology.display();
    println!("The database is {}. Try next:", arguments.dir.join("demo.db").display());
    let rowcast = std::env::args().next().unwrap_or_else(|| "rowcast".to_owned());
    println!("  {rowcast} dead-letters summary --topology {file}");
    println!("  {rowcast} topology --topology {file} --output mermaid");
    println!("  {rowcast} schema --topology {file}");
    Ok(())
}

/// Lays out the folder; returns the topology file.
fn prepare_folder(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::failed(format!("{}: {error}", path.display()))
    };
    std::fs::create_dir_all(dir.join("rules")).map_err(|error| failed(dir, error))?;
    for name in MADE {
        for suffix in ["", "-wal", "-shm"] {
            let path = dir.join(format!("{name}{suffix}"));
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(&path, error));
                }
                _ => {}
            }
        }
    }
    for (name, content) in FILES {
        let path = dir.join(name);
        std::fs::write(&path, content).map_err(|error| failed(&path, error))?;
    }
    Ok(dir.join(FILES[0].0))
}

/// Opens the demo's database with a connection of its own.
async fn database(dir: &Path) -> Result<SqliteConnection, Failure> {
    use sqlx::ConnectOptions as _;
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("demo.db")).read_only(true);
    options.connect().await.map_err(|error| Failure::failed(format!("demo.db: {error}")))
}

async fn feed(
    application: &Application,
    records: Vec<crate::broker::OutgoingRecord>,
) -> Result<(), Failure> {
    let feed = application.feed().await?;
    let bar = ProgressBar::new(records.len() as u64);
    for together in records.chunks(1000) {
        feed.send(together.to_vec()).await?;
        bar.inc(together.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn show_tables(application: &Application, dir: &Path) -> Result<(), Failure> {
    let mut connection = database(dir).await?;
    let failed = |error: sqlx::Error| Failure::failed(format!("reading tables: {error}"));
    let dialect = application.dialect();
    let mut counts = Vec::new();
    for root in &application.catalog().roots {
        for declared in root.declared_tables() {
            let sql = format!("SELECT count(*) FROM {}", dialect.table(&declared.name));
            let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(&mut connection)
                .await
                .map_err(failed)?;
            counts.push([declared.name.to_string(), count.to_string()]);
        }
    }
    println!("{}\n", table(["table", "rows"], counts));
    for root in &application.catalog().roots {
        let declared = root.named_table();
        let there = declared.columns.iter().filter(|column| !column.optional);
        let mapped = there.filter(|column| {
            matches!(
                column.source,
                crate::model::ColumnSource::Rule { .. } | crate::model::ColumnSource::Version
            )
        });
        let columns: Vec<_> = mapped
            .take(SHOWN_COLUMNS)
            .map(|column| {
                format!("CAST({} AS text)", dialect.quote(&column.name))
                    + " AS "
                    + &dialect.quote(&column.name)
            })
            .collect();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY 1 LIMIT {SHOWN_ROWS}",
            columns.join(", "),
            dialect.table(&declared.name)
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .map_err(failed)?;
        let mut shown = super::table::table([], Vec::<Vec<String>>::new());
        if let Some(first) = rows.first() {
            shown.set_header(first.columns().iter().map(|column| column.name().to_owned()));
        }
        for row in &rows {
            shown.add_row((0..row.len()).map(|place| {
                row.try_get::<Option<String>, _>(place)
                    .ok()
                    .flatten()
                    .unwrap_or_else(|| "NULL".to_owned())
            }));
        }
        println!("{}\n{shown}\n", declared.name);
    }
    Ok(())
}
