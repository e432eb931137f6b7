//! `rowcast check --cases`: golden cases, a change and the rows it must become.
//!
//! In: files and folders of cases. Out: a line a case, with the differences of those that fail.
//! Neither broker nor database is needed.

mod compare;
mod file;

use std::path::{Path, PathBuf};

use serde_json::json;

pub use file::schema;

use super::{Failure, Output};
use crate::application::Application;
use crate::error::counted;
use crate::problem::Problem;
use file::Golden;

/// Deepest nesting of folders: a link in a circle must end.
const MAX_FOLDERS: usize = 16;

/// Runs all cases; how many failed.
pub(super) fn run(
    application: &Application,
    paths: &[PathBuf],
    output: Output,
) -> Result<usize, Failure> {
    let cases = read(paths).map_err(|problems| Failure::problems(&problems))?;
    let mut failed = 0;
    for case in &cases {
        let differences = compare::differences(application, case);
        failed += usize::from(!differences.is_empty());
        match output {
            Output::Json => println!(
                "{}",
                json!({
                    "case": case.place,
                    "name": case.name,
                    "ok": differences.is_empty(),
                    "differences": differences,
                })
            ),
            Output::Table => print(case, &differences),
        }
    }
    eprintln!("{}, {failed} failed", counted(cases.len(), "case"));
    Ok(failed)
}

fn print(case: &Golden, differences: &[String]) {
    let result = if differences.is_empty() { "ok" } else { "FAILED" };
    let name = case.name.as_ref().map(|name| format!(": {name}")).unwrap_or_default();
    println!("{result:<6}  {}{name}", case.place);
    for difference in differences {
        println!("        {difference}");
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Golden>, Vec<Problem>> {
    let mut cases = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        let mut files = Vec::new();
        let shown = path.display().to_string();
        if let Err(error) = collect(path, 0, &mut files) {
            problems.push(Problem::new(shown, "", format!("cannot be read: {error}")));
            continue;
        }
        if files.is_empty() {
            let message = "holds no case: a file that ends in .json, .yaml or .yml";
            problems.push(Problem::new(shown, "", message));
        }
        for file in files {
            let shown = file.display().to_string();
            match std::fs::read_to_string(&file) {
                Ok(text) => match file::read(&shown, &text) {
                    Ok(read) => cases.extend(read),
                    Err(found) => problems.extend(found),
                },
                Err(error) => {
                    problems.push(Problem::new(shown, "", format!("cannot be read: {error}")));
                }
            }
        }
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems) }
}

/// The case files of a folder and those below it, by name; or the file that was named.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        entries.push(entry?.path());
    }
    entries.sort();
    for entry in entries {
        let ending = entry.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if entry.is_dir() {
            if depth < MAX_FOLDERS {
                collect(&entry, depth + 1, files)?;
            }
        } else if matches!(ending, "json" | "yaml" | "yml") {
            files.push(entry);
        }
    }
    Ok(())
}
