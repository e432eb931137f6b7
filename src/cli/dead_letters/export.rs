//! `rowcast dead-letters export`: letters as NDJSON.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::filter::Filter;
use super::render::{self, Payload};
use super::{Failure, TopologyArguments, letters};
use crate::error::counted;

const EXAMPLES: &str = "\
Examples:
  rowcast dead-letters export --topology clinical.yaml --cause type_mismatch > letters.ndjson
  rowcast dead-letters export --topology clinical.yaml --all --reveal-payload --file letters.ndjson

A line is what `show --output json` prints of a letter, without advice. Exit code 4 if no letter
matches.";

/// Options of `export`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    topology: TopologyArguments,
    #[command(flatten)]
    filter: Filter,
    /// Also those that are settled.
    #[arg(long, conflicts_with = "status")]
    all: bool,
    /// Write to this file, which must not be there yet, readable by its owner only; default: stdout.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write key, value and the values of the record's own headers too: patient data. What is not
    /// UTF-8 is in `key_base64` and `value_base64`.
    #[arg(long)]
    reveal_payload: bool,
}

pub(super) async fn export(arguments: Arguments) -> Result<(), Failure> {
    let application = super::super::open(&arguments.topology)?;
    let broker = application.broker().await?;
    let usual = arguments.filter.looked_at(arguments.all);
    let ledger = letters(&application, &*broker, &arguments.filter, usual).await?;
    if ledger.letters().is_empty() {
        return Err(Failure::nothing_matched("no letter matches"));
    }
    let payload = Payload::asked_for(arguments.reveal_payload);
    let mut out: Box<dyn Write + Send> = match &arguments.file {
        Some(file) => Box::new(BufWriter::new(create(file)?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let mut records = ledger.records(&*broker).await?;
    let mut count = 0_u64;
    while let Some((letter, record)) = records.next().await? {
        let line = serde_json::Value::Object(render::whole(letter, &record, payload));
        match writeln!(out, "{line}") {
            Ok(()) => count += 1,
            // `| head` has enough
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    eprintln!("{} exported", counted(count, "letter"));
    Ok(())
}

/// A new file for its owner alone.
fn create(path: &Path) -> Result<File, Failure> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}
