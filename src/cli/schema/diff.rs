//! `rowcast schema diff`: the live schema beside the rules.

use crate::application::Application;
use crate::cli::table::table;
use crate::cli::{Failure, Output, print};
use crate::plan::{ForeignKeys, Mending, SchemaProblem, Severity};

pub(super) async fn diff(application: &Application, output: Output) -> Result<(), Failure> {
    let schema = application.schema()?;
    let problems = schema.compare(ForeignKeys::default()).await?;
    schema.close().await;
    match output {
        Output::Json => problems.iter().try_for_each(|problem| print::line(as_json(problem)))?,
        Output::Table if problems.is_empty() => print::message("schema: fits"),
        Output::Table => print::line(as_text(&problems))?,
    }
    fits(&problems)
}

/// Whether writing can work; if not, exit code 78.
pub(super) fn fits(problems: &[SchemaProblem]) -> Result<(), Failure> {
    match problems.iter().filter(|problem| problem.severity == Severity::Error).count() {
        0 => Ok(()),
        1 => Err(Failure::unfit("1 finding makes writing impossible")),
        many => Err(Failure::unfit(format!("{many} findings make writing impossible"))),
    }
}

/// The findings, who mends them, and the statements that change what is there, which nobody runs by
/// himself.
pub(super) fn as_text(problems: &[SchemaProblem]) -> String {
    let rows = problems.iter().map(|problem| {
        let mended = match problem.mending {
            Mending::Create(_) => "schema apply",
            Mending::Change(_) | Mending::Advice(_) => "you",
            Mending::Nothing => "",
        };
        [
            problem.severity.as_str().to_owned(),
            problem.table.clone(),
            problem.column.clone().unwrap_or_default(),
            problem.message.clone(),
            mended.to_owned(),
        ]
    });
    let mut text = table(["severity", "table", "column", "finding", "mended by"], rows).to_string();
    let yours = yours(problems);
    if !yours.is_empty() {
        text.push_str("\n\nYours to decide, because it changes what is there:\n\n");
        text.push_str(&yours.join("\n"));
    }
    text
}

/// What is not done by `schema apply`: statements as such, advice as comments.
pub(super) fn yours(problems: &[SchemaProblem]) -> Vec<String> {
    let lines = problems.iter().flat_map(|problem| match &problem.mending {
        Mending::Change(statements) => statements.iter().map(|ddl| format!("{ddl};")).collect(),
        Mending::Advice(advice) => vec![format!("-- {advice}")],
        Mending::Create(_) | Mending::Nothing => Vec::new(),
    });
    lines.collect()
}

/// One line for programs.
fn as_json(problem: &SchemaProblem) -> serde_json::Value {
    let (mending, advice) = match &problem.mending {
        Mending::Create(_) => (Some("create"), None),
        Mending::Change(_) => (Some("change"), None),
        Mending::Advice(advice) => (Some("advice"), Some(advice)),
        Mending::Nothing => (None, None),
    };
    serde_json::json!({
        "severity": problem.severity.as_str(),
        "kind": problem.kind.as_str(),
        "table": problem.table,
        "column": problem.column,
        "message": problem.message,
        "mending": mending,
        "statements": problem.mending.statements(),
        "advice": advice,
    })
}
