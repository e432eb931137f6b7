//! `rowcast load`: what a source has is brought into the ingest topic.

mod report;
mod server;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use clap::builder::PossibleValuesParser;
use url::{Origin, Url, form_urlencoded};

use super::{Failure, Output, TopologyArguments, run};
use crate::application::{Application, Batch};
use crate::error::{ErrorClass, counted, messages};
use crate::fhir_server::{ExportLevel, ExportRequest, FhirServerError, Scope};
use crate::load::{
    Ended, Export, ExportInput, FilesInput, Identity, Input, Load, LoadError, PagesInput, Part,
    Position, Shape, State, VersionRule,
};
use crate::model::{RESOURCE_TYPES, Version, is_resource_type};
use crate::source::{Format, VersionFrom};
use report::Report;
use server::ServerArguments;

const EXAMPLES: &str = "\
Examples:
  rowcast load --topology clinical.yaml 'export/*.ndjson.gz'          files: plain, gzip, zstd
  zstdcat big.zst | rowcast load --topology clinical.yaml -           stdin; cannot be gone on with
  rowcast load --topology clinical.yaml --version 1 synthea/*.ndjson  resources without versions
  rowcast load --topology clinical.yaml --export --type Patient,Observation \\
    --server https://fhir.example/fhir --token-url https://fhir.example/token \\
    --client-id rowcast --client-secret '${file:/run/secrets/fhir}' --scope 'system/*.read'
  rowcast load --topology clinical.yaml --export=Group/ward-7 --since 2026-11-01
  rowcast load --topology clinical.yaml --search 'Patient?active=true'
  rowcast load --topology clinical.yaml --history --since 2026-11-01T00:00:00Z --rate 500

It may be done beside live traffic: what is older than what the tables have is stale. Killed or stopped,
the same command goes on where it was; only the portion in hand may be sent twice, which does no harm.

Exit codes: 0 all of it is there; 3 some lines or entries were refused, the rest is there; 1 it failed or
was stopped; 69 the broker or the server is away.";

/// Options of `load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("input").required(true)))]
pub(super) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    /// NDJSON files, a resource a line, as paths or glob patterns; plain, gzip or zstd, told by their
    /// contents. `-`: stdin.
    #[arg(value_name = "FILE", group = "input")]
    files: Vec<String>,
    /// A FHIR Bulk Data export: `system` (default), `Patient` or `Group/ID`.
    #[arg(
        long, value_name = "LEVEL", group = "input", num_args = 0..=1, require_equals = true,
        default_missing_value = "system", value_parser = level
    )]
    export: Option<ExportLevel>,
    /// What a search finds, without what was deleted: `Patient?active=true`. May be repeated.
    #[arg(long, value_name = "QUERY", group = "input", value_parser = search)]
    search: Vec<Part>,
    /// The server's history, all its versions and deletes; of the types of --type, else of all.
    #[arg(long, group = "input")]
    history: bool,
    /// Resource types to export or to read the history of, separated by commas. Default: all.
    #[arg(
        long = "type", value_name = "TYPE", value_delimiter = ',', hide_possible_values = true,
        value_parser = PossibleValuesParser::new(RESOURCE_TYPES), conflicts_with_all = ["files", "search"]
    )]
    types: Vec<String>,
    /// Only what changed since then: an instant or a date (UTC).
    #[arg(long, value_name = "INSTANT", value_parser = instant, conflicts_with_all = ["files", "search"])]
    since: Option<DateTime<Utc>>,
    /// For --export: a search that chooses among the resources of a type, `Observation?status=final`.
    /// May be repeated.
    #[arg(long = "type-filter", value_name = "QUERY", requires = "export")]
    type_filters: Vec<String>,
    /// For --export: another server, `https://files.example`, from which its files may be fetched; it
    /// gets the credentials if the manifest asks for them. May be repeated.
    #[arg(long = "file-server", value_name = "URL", requires = "export", value_parser = origin)]
    file_servers: Vec<Origin>,
    /// For --search and --history: entries a page, as a wish.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    page_size: u16,
    #[command(flatten)]
    server: ServerArguments,
    /// Topic to append to; default: the topology's, if it is but one.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// States this version for all resources (header `rowcast.version`), whatever they say themselves:
    /// for those without `meta.versionId`. Not for a history, whose versions it would make one.
    #[arg(
        long = "version", id = "stated", value_name = "N", value_parser = version,
        conflicts_with = "history"
    )]
    version: Option<Version>,
    /// Most records a second.
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// File that remembers how far it is. Default: beside the topology file, named after it and the
    /// input.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// How to print the summary.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn load(arguments: Arguments) -> Result<(), Failure> {
    let application = super::open(&arguments.topology)?;
    let shape = shape(&application, &arguments)?;
    let files = files(&arguments.files)?;
    let chosen = Chosen::of(&application, &arguments, files)?;
    let state = state(&arguments, &shape, &chosen).await?;
    let position = state.as_ref().map_or(Position::Begin, |state| state.position().clone());
    let input = chosen.input(&shape, &position).await.map_err(|error| failure(&error))?;
    let feed = application.feed_of(&shape.topic).await?;
    if let Some(state) = state.as_ref().filter(|state| state.goes_on()) {
        let (records, path) = (state.counts().records, state.path().display());
        let records = counted(records, "record");
        eprintln!("going on behind {records} already there ({path})");
    }
    let stop = run::stop_on_signal()?;
    let mut report = Report::new(arguments.output, &shape.topic);
    let load = Load { feed: &feed, state, rate: arguments.rate, stop };
    let loaded = load.run(input, |portion, counts| report.portion(portion, counts)).await;
    report.end(&loaded);
    let counts = &loaded.counts;
    let go_on = |failure: Failure| match &loaded.kept {
        Some(path) => {
            let path = path.display();
            failure.advising(format!("the same command goes on where it was ({path})"))
        }
        None => failure.advising("begin again, which does no harm"),
    };
    match &loaded.ended {
        Ended::Stopped => Err(go_on(Failure::failed("stopped before the end"))),
        Ended::Failed(error @ (LoadError::Gone { .. } | LoadError::OtherExport)) => {
            Err(failure(error))
        }
        Ended::Failed(error) => Err(go_on(failure(error))),
        Ended::Untidy(error) => {
            eprintln!("warning: all of it is there, but: {}", messages(error).join(": "));
            report::judged(counts)
        }
        Ended::Complete => report::judged(counts),
    }
}

/// What is loaded.
enum Chosen {
    Files(Vec<PathBuf>),
    Export(server::Server, Export),
    Pages(server::Server, Vec<Part>, u16),
}

impl Chosen {
    fn of(
        application: &Application,
        arguments: &Arguments,
        files: Vec<PathBuf>,
    ) -> Result<Self, Failure> {
        if !files.is_empty() {
            if arguments.server.is_given() {
                return Err(Failure::usage("files need no FHIR server, nor how to log in there"));
            }
            return Ok(Self::Files(files));
        }
        let server = arguments.server.open(application.topology())?;
        let Arguments { types, since, type_filters, .. } = arguments;
        if let Some(level) = &arguments.export {
            let request = ExportRequest {
                level: level.clone(),
                types: types.clone(),
                since: *since,
                type_filters: type_filters.clone(),
            };
            let export = Export { request, elsewhere: arguments.file_servers.clone() };
            return Ok(Self::Export(server, export));
        }
        let parts = if arguments.history {
            let of_type = |name: &String| Scope::Type(name.as_str().into());
            let scopes: Vec<Scope> = if types.is_empty() {
                vec![Scope::System]
            } else {
                types.iter().map(of_type).collect()
            };
            scopes.into_iter().map(|scope| Part::History(scope, *since)).collect()
        } else {
            arguments.search.clone()
        };
        let count = most(arguments, arguments.page_size.into());
        Ok(Self::Pages(server, parts, u16::try_from(count).unwrap_or(arguments.page_size)))
    }

    /// What tells it from other inputs; `None`: it cannot be gone on with.
    async fn identity(&self) -> Result<Option<Identity>, LoadError> {
        let (server, request) = match self {
            Self::Files(files) => return FilesInput::identity(files).await,
            Self::Export(server, export) => (server, export.request.identity()),
            Self::Pages(server, parts, _) => {
                (server, parts.iter().flat_map(Part::identity).collect())
            }
        };
        Ok(Some(Identity::of_server(server.base().as_str(), &request)))
    }

    async fn input(self, shape: &Shape, position: &Position) -> Result<Box<dyn Input>, LoadError> {
        let shape = shape.clone();
        Ok(match self {
            Self::Files(files) => Box::new(FilesInput::open(files, shape, position).await?),
            Self::Export(server, export) => {
                Box::new(ExportInput::new(server, export, shape, position))
            }
            Self::Pages(server, parts, count) => {
                Box::new(PagesInput::new(server, parts, count, shape, position))
            }
        })
    }
}

/// What the records look like, for a topic that takes such.
fn shape(application: &Application, arguments: &Arguments) -> Result<Shape, Failure> {
    let topology = application.topology();
    let Some(topic) = arguments.topic.as_deref().or_else(|| topology.only_topic()) else {
        let message = "the source has a pattern or several topics; name one of them by --topic";
        return Err(Failure::usage(message));
    };
    let Some(read) = topology.topics.iter().find(|read| read.selector.selects(topic)) else {
        return Err(Failure::usage(format!("the topology does not read `{topic}`")));
    };
    if !matches!(read.format, Format::Auto | Format::Fhir) {
        let format = read.format.as_str();
        return Err(Failure::usage(format!(
            "`{topic}` holds records of the format {format}; what is loaded needs one of its own, of \
             the format fhir: see `source.topics`"
        )));
    }
    if arguments.version.is_none() && read.version_from == VersionFrom::Offset {
        if arguments.history {
            return Err(Failure::usage(format!(
                "a history stands newest first, and `{topic}` takes what comes later for newer \
                 (version.from: offset)"
            )));
        }
        eprintln!(
            "warning: `{topic}` takes what comes later for newer (version.from: offset): what is \
             loaded wins over what is there"
        );
    }
    let version = match arguments.version {
        Some(version) => VersionRule::Stated(version),
        None => VersionRule::From(read.version_from),
    };
    let max_bytes = topology.limits.bytes;
    Ok(Shape { topic: topic.into(), version, max_bytes, most: most(arguments, Batch::RECORDS) })
}

/// No more than this, and than a second may send: so a load that is stopped need not be waited for.
fn most(arguments: &Arguments, most: usize) -> usize {
    let rate = arguments.rate.and_then(|rate| usize::try_from(rate.get()).ok());
    most.min(rate.unwrap_or(most))
}

/// The state file, unless the input cannot be gone on with.
async fn state(
    arguments: &Arguments,
    shape: &Shape,
    chosen: &Chosen,
) -> Result<Option<State>, Failure> {
    let identity = chosen.identity().await.map_err(|error| failure(&error))?;
    let Some(identity) = identity else {
        return match &arguments.resume {
            Some(_) => Err(Failure::usage("stdin cannot be gone on with: leave --resume out")),
            None => Ok(None),
        };
    };
    let path = arguments
        .resume
        .clone()
        .unwrap_or_else(|| beside(&arguments.topology.topology, &identity.short_name()));
    let state = State::open(path, &shape.topic, shape.version, identity).await;
    state.map(Some).map_err(|error| failure(&error))
}

/// `clinical.yaml`: `clinical.load-1a2b3c4d.json` in the same folder.
fn beside(topology: &Path, name: &str) -> PathBuf {
    let stem = topology.file_stem().unwrap_or_default().to_string_lossy();
    topology.with_file_name(format!("{stem}.load-{name}.json"))
}

/// The files that are named, patterns in the order of names; none twice.
fn files(named: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut met = BTreeSet::new();
    for name in named {
        let path = PathBuf::from(name);
        let mut found = Vec::new();
        // a name may have characters of patterns in it
        if name == "-" || path.exists() || !name.contains(['*', '?', '[']) {
            found.push(path);
        } else {
            let matches = glob::glob(name)
                .map_err(|error| Failure::usage(format!("`{name}` is no pattern: {error}")))?;
            for path in matches {
                found.push(path.map_err(|error| Failure::failed(error.to_string()))?);
            }
            found.retain(|path| path.is_file());
            if found.is_empty() {
                return Err(Failure::failed(format!("no file matches `{name}`")));
            }
        }
        files.extend(found.into_iter().filter(|path| met.insert(path.clone())));
    }
    Ok(files)
}

fn failure(error: &LoadError) -> Failure {
    let message = messages(error).join(": ");
    let failure = match error.class() {
        ErrorClass::Retriable => Failure::unavailable(message),
        ErrorClass::Poison | ErrorClass::Fatal => Failure::failed(message),
    };
    match error {
        LoadError::Server(FhirServerError::Link { .. }) => failure.advising(
            "files of an export may be fetched from another server that --file-server names",
        ),
        _ => failure,
    }
}

fn level(text: &str) -> Result<ExportLevel, String> {
    match text.split_once('/') {
        None if text == "system" => Ok(ExportLevel::System),
        None if text == "Patient" => Ok(ExportLevel::Patient),
        Some(("Group", id)) if !id.is_empty() && !id.contains('/') => {
            Ok(ExportLevel::Group(id.to_owned()))
        }
        _ => Err("is none of `system`, `Patient` and `Group/ID`".into()),
    }
}

fn search(text: &str) -> Result<Part, String> {
    let (name, query) = text.split_once('?').unwrap_or((text, ""));
    if !is_resource_type(name) {
        return Err("does not begin with a resource type: Patient?active=true".into());
    }
    let parameters = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Ok(Part::Search(name.to_owned(), parameters))
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let instant = DateTime::parse_from_rfc3339(text);
    let instant = instant.map_err(|_| "is neither 2026-11-01T00:00:00Z nor 2026-11-01")?;
    Ok(instant.with_timezone(&Utc))
}

fn origin(text: &str) -> Result<Origin, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.map(|url| url.origin()).ok_or_else(|| "is no URL of a server: https://files.example".into())
}

fn version(text: &str) -> Result<Version, String> {
    let version = text.parse().ok().and_then(Version::new);
    version.ok_or_else(|| "is no version: a whole number from 0 on".into())
}
