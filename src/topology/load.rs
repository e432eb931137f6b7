//! A topology file becomes a topology.
//!
//! In: the path of the file and the `--set`s. Out: the valid topology with its warnings, or every
//! problem there is. The order: YAML, settings, placeholders, shape, meaning; each stage mends
//! what it refuses so that the next still finds its own. It reads the file, its `${file:}`s and
//! the rules, writes nothing and connects to nothing.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::file::TopologyFile;
use super::interpolate::{Sources, interpolate};
use super::set::{self, Setting};
use super::structure::{self, Retypable};
use super::{Topology, resolve};
use crate::problem::{self, Problem, Schema, pointer};

/// Largest topology file, in bytes: ours have two thousand.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A topology fit to run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The topology.
    pub topology: Topology,
    /// What works but should be mended: passwords in the file, connections in the clear.
    pub warnings: Vec<Problem>,
}

/// Loads a topology file, with variables from the process's environment.
///
/// # Errors
/// All problems at once, in the order of the checks. They never contain values.
pub fn load(path: &Path, settings: &[Setting]) -> Result<Loaded, Vec<Problem>> {
    load_with(path, settings, &|name| std::env::var(name).ok())
}

/// Loads a topology file, with variables from `variables`.
///
/// # Errors
/// All problems at once, in the order of the checks. They never contain values.
pub fn load_with(
    path: &Path,
    settings: &[Setting],
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Vec<Problem>> {
    let file = path.display().to_string();
    let alone = |message: String| vec![Problem::new(&file, "", message)];
    let text = read(path, MAX_FILE_BYTES).map_err(|error| alone(cannot_be_read(&error)))?;
    let mut tree = problem::parse(&file, &text).map_err(|problem| vec![problem])?;
    if !tree.is_object() {
        return Err(alone("must be a mapping with the keys name, source, transform, sink".into()));
    }

    let folder = path.parent().unwrap_or(Path::new(""));
    let mut problems = Vec::new();
    let placed = set::apply(&mut tree, settings, &mut problems);
    let sources = Sources { variables, folder };
    let brought = interpolate(&mut tree, &file, &sources, &mut problems);
    let retypable = Retypable { placeholders: &brought.whole, settings: &placed };
    let schema = Schema::of::<TopologyFile>();
    let mut mended = brought.unresolved;
    problems.extend(structure::check(&mut tree, &schema, &file, &retypable, &mut mended));

    let resolved = match problem::read::<TopologyFile>(&file, tree) {
        Ok(written) => resolve::resolve(written, &file, folder, &brought.typed, &mended),
        Err(problem) => Err(vec![problem]),
    };
    match resolved {
        Ok(mut loaded) if problems.is_empty() => {
            blame_settings(&mut loaded.warnings, &placed);
            Ok(loaded)
        }
        resolved => {
            problems.extend(resolved.err().unwrap_or_default());
            blame_settings(&mut problems, &placed);
            Err(problems)
        }
    }
}

/// A problem at a place that `--set` filled is a problem of the command line.
fn blame_settings(problems: &mut [Problem], placed: &[String]) {
    for problem in problems {
        if placed.iter().any(|setting| pointer::is_within(&problem.path, setting)) {
            set::FILE.clone_into(&mut problem.file);
        }
    }
}

/// The text of a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let size = File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if size as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {limit} bytes"),
        ));
    }
    Ok(text)
}

/// How a file that cannot be read is told.
pub(super) fn cannot_be_read(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}
