//! The commands. stdout is data, stderr is messages; exit codes are part of the contract.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::application::Application;
use crate::telemetry::logs;
use crate::topology::Setting;

mod cases;
mod check;
mod dead_letters;
mod demo;
mod explain;
mod failure;
mod feed;
mod instance;
mod load;
mod log;
mod metrics;
mod offsets;
mod pointcut;
mod print;
mod produce;
mod rebuild;
mod run;
mod schema;
mod status;
mod table;
mod topology;
mod values;

pub use cases::schema as cases_schema;
pub use failure::Failure;

const EXAMPLES: &str = "\
Examples:
  rowcast demo                                            a small hospital, start to end, in a folder of its own
  rowcast check --topology clinical.yaml                  rules, topology and the live schema
  rowcast check --topology clinical.yaml --offline --cases  golden cases: changes, and the rows they must become
  rowcast explain --topology clinical.yaml patient.json   what a resource becomes, and why
  rowcast schema --topology clinical.yaml                 the tables, as DDL; no connection needed
  rowcast schema apply --topology clinical.yaml           create those that are missing
  rowcast run --topology clinical.yaml                    keep the rows in step with the topic
  rowcast status --topology clinical.yaml                 how it is doing, and what to do next
  rowcast load --topology clinical.yaml 'all/*.ndjson.gz' fill the topic from files, an export, a server
  rowcast dead-letters summary --topology clinical.yaml   what was refused, and what to do
  rowcast rebuild --topology clinical.yaml --table claim  after its rules changed
  rowcast log --topology clinical.yaml --for 10m info,rowcast::troubleshooting=debug  each change's way

Exit codes:
  0 ok   1 failure   2 usage   3 some letters, records or lines were refused   4 nothing matched
  69 a dependency is unavailable   78 configuration (every problem is listed)
  141 nobody reads stdout any more";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  rowcast completions bash > /etc/bash_completion.d/rowcast
  rowcast completions zsh > ~/.zfunc/_rowcast
  rowcast completions fish > ~/.config/fish/completions/rowcast.fish";

/// How long calls that hang may hold up the end of the process.
const HANGING_CALLS: Duration = Duration::from_secs(1);

/// FHIR changes from a Kafka topic become guarded rows in your own database.
#[derive(Debug, Parser)]
#[command(name = "rowcast", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the rows in step with the ingest topic.
    Run(run::Arguments),
    /// Fill the ingest topic from a FHIR server; install and remove the subscriptions at it.
    #[command(subcommand)]
    Pointcut(pointcut::Command),
    /// Append resources or records to the ingest topic.
    Produce(produce::Arguments),
    /// Bring files, an export, a search or a history of a FHIR server into the ingest topic.
    Load(Box<load::Arguments>),
    /// Check rules, topology and the live schema; list every problem.
    Check(check::Arguments),
    /// Show what a resource becomes, or what a FHIRPath yields; nothing is written.
    Explain(explain::Arguments),
    /// Print the DDL for the rules; compare the live schema with them; create what is missing.
    Schema(schema::Arguments),
    /// Find out what was refused and why; mend it, replay it or give it up.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Fill tables anew after their rules changed: beside live traffic, or cleared.
    Rebuild(rebuild::Arguments),
    /// What is remembered about the topic's offsets.
    #[command(subcommand)]
    Offsets(offsets::Command),
    /// How a running instance is doing, in a sentence, and what to do next.
    Status(status::Arguments),
    /// Show or change what a running instance logs.
    Log(log::Arguments),
    /// List the metrics that `run` serves.
    Metrics(metrics::Arguments),
    /// Print the topology.
    Topology(topology::Arguments),
    /// Run a small made-up hospital through everything, in a folder of its own.
    Demo(demo::Arguments),
    /// Print what completes commands and options in your shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Which topology: the options that every command about one has.
#[derive(Debug, Clone, clap::Args)]
struct TopologyArguments {
    /// The topology file.
    #[arg(long, value_name = "FILE", env = "ROWCAST_TOPOLOGY")]
    topology: PathBuf,
    /// Override one setting, e.g. --set sink.connections=4. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<SettingText>,
}

/// A `--set` as it was written. clap would quote one that it cannot read, and the value may be a
/// password: it is read after clap is through.
#[derive(Clone)]
struct SettingText(String);

impl From<String> for SettingText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SettingText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SettingText(…)")
    }
}

/// Opens the topology, everything known that can be known without a connection.
fn load(arguments: &TopologyArguments) -> Result<Application, Failure> {
    let settings = arguments.settings.iter().map(|SettingText(text)| text.parse::<Setting>());
    let settings: Vec<_> = settings
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::usage(format!("--set: {error}")))?;
    let application = Application::load_with(&arguments.topology, &settings)?;
    application.check()?;
    Ok(application)
}

/// The same, its warnings said on stderr.
fn open(arguments: &TopologyArguments) -> Result<Application, Failure> {
    let application = load(arguments)?;
    for warning in application.warnings() {
        print::message(format_args!("warning: {warning}"));
    }
    Ok(application)
}

/// How a command prints what it found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: stable, lists as one JSON object a line.
    Json,
}

/// The command line, as the reference in docs/cli.md lists it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the command line, runs the command, tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    logs::hide_panic_messages();
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::failed(format!("the runtime does not start: {error}")).report();
        }
    };
    let ended = runtime.block_on(dispatch(arguments.command));
    // a call into a broker that is away may still hang; everything that matters is settled
    runtime.shutdown_timeout(HANGING_CALLS);
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    };
    logs::finish();
    code
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::Pointcut(command) => pointcut::pointcut(command).await,
        Command::Produce(arguments) => produce::produce(arguments).await,
        Command::Load(arguments) => load::load(*arguments).await,
        Command::Check(arguments) => check::check(arguments).await,
        Command::Explain(arguments) => explain::explain(&arguments).await,
        Command::Schema(arguments) => schema::schema(arguments).await,
        Command::DeadLetters(command) => dead_letters::dead_letters(command).await,
        Command::Rebuild(arguments) => rebuild::rebuild(arguments).await,
        Command::Offsets(command) => offsets::offsets(command).await,
        Command::Status(arguments) => status::status(arguments).await,
        Command::Log(arguments) => log::log(arguments).await,
        Command::Metrics(arguments) => metrics::metrics(&arguments),
        Command::Topology(arguments) => topology::topology(&arguments),
        Command::Demo(arguments) => demo::demo(arguments).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self::command(), "rowcast", &mut script);
            print::text(String::from_utf8_lossy(&script))
        }
    }
}
