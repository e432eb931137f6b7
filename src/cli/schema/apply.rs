//! `rowcast schema apply`: what is missing is created, what is there is left alone.

use std::io::{IsTerminal, Write, stderr, stdin};

use super::diff::{as_text, fits, yours};
use super::script;
use crate::application::Application;
use crate::cli::Failure;
use crate::error::{ErrorClass, counted, messages};
use crate::plan::{ForeignKeys, Mending, SchemaProblem, Severity, creating};
use crate::sink::{DatabaseSchema, Unfinished};

/// Creates what is missing, and says what remains. What remains keeps nothing from being created: each
/// statement only adds, so that a run later has the rest to do.
pub(super) async fn apply(
    application: &Application,
    foreign_keys: ForeignKeys,
    yes: bool,
) -> Result<(), Failure> {
    let schema = application.schema()?;
    let mut problems = schema.compare(foreign_keys).await?;
    let statements = creating(&problems);
    if statements.is_empty() {
        eprintln!("nothing to do");
    } else {
        println!("{}", script(&statements));
        let many = counted(statements.len(), "statement");
        let target = application.topology().sink.shown();
        if !yes && !agreed(&format!("Run {many} on {target}? [y/N] "))? {
            return Err(Failure::failed("nothing was changed"));
        }
        if let Err(unfinished) = schema.execute(&statements).await {
            return Err(failure(&unfinished, &uncreatable(&schema, &unfinished).await));
        }
        eprintln!("ran {many} on {target}");
        problems = schema.compare(foreign_keys).await?;
    }
    schema.close().await;
    problems.retain(is_left);
    if !problems.is_empty() {
        println!("{}{}", if statements.is_empty() { "" } else { "\n" }, as_text(&problems));
    }
    fits(&problems)
}

/// What somebody should still look at.
fn is_left(problem: &SchemaProblem) -> bool {
    problem.severity > Severity::Information && problem.mending != Mending::Nothing
}

/// Asks on the terminal.
fn agreed(question: &str) -> Result<bool, Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to ask: say --yes to run these statements"));
    }
    eprint!("{question}");
    stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Which schemas the role may not create tables in, if that may be why.
async fn uncreatable(schema: &DatabaseSchema, unfinished: &Unfinished) -> Vec<SchemaProblem> {
    match unfinished.error.class() {
        ErrorClass::Fatal => schema.uncreatable().await.unwrap_or_default(),
        ErrorClass::Poison | ErrorClass::Retriable => Vec::new(),
    }
}

fn failure(unfinished: &Unfinished, lacks: &[SchemaProblem]) -> Failure {
    let reason = messages(&unfinished.error).join(": ");
    let failure = match unfinished.error.class() {
        ErrorClass::Retriable => Failure::unavailable(reason),
        ErrorClass::Poison | ErrorClass::Fatal => Failure::failed(reason),
    };
    let failure = match &unfinished.statement {
        Some(statement) => failure.advising(format!("at this statement:\n\n{statement};\n")),
        None => failure,
    };
    let failure = match lacks {
        [] => failure,
        lacks => {
            let told: Vec<_> = lacks.iter().map(|lack| format!("{lack}\n")).collect();
            failure.advising(told.concat()).advising(yours(lacks).join("\n"))
        }
    };
    failure.advising(match unfinished.done {
        0 => "nothing was changed".to_owned(),
        1 => "the statement before it is done; run it again for the rest".to_owned(),
        done => format!("the {done} statements before it are done; run it again for the rest"),
    })
}
