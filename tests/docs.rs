//! The reference pages are generated from the code: a page that differs is a failing test.
//! `ROWCAST_BLESS=1 cargo test docs::` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use rowcast::dead_letter::{Status, headers};
use rowcast::error::Cause;
use rowcast::plan::{Dialect, Mysql, Postgres, Sqlite};
use rowcast::telemetry::metrics::Metrics;
use rowcast::transform::fhirpath;

const GENERATED: &str = "<!-- Generated from the code: ROWCAST_BLESS=1 cargo test docs:: -->\n";

fn is_generated(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("ROWCAST_BLESS").is_some() {
        std::fs::write(&path, page).expect("the page is written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == page, "docs/{name} differs; run ROWCAST_BLESS=1 cargo test docs::");
}

#[test]
fn every_cause_has_an_anchor_with_meaning_and_remedy() {
    let mut page = format!(
        "{GENERATED}# Causes\n\nWhy a record was refused: the header `rowcast.error.cause`, the label `cause` of\n`rowcast_dead_letters_total`, and the filter `--cause`. The list is closed. What to do with the\nletters once the cause is mended: [dead-letters.md](dead-letters.md).\n"
    );
    for cause in Cause::ALL {
        let _ = write!(
            page,
            "\n## {cause}\n\n{}\n\n*To mend it:* {}\n",
            cause.meaning(),
            cause.remedy()
        );
    }
    is_generated("causes.md", &page);
}

#[test]
fn every_metric_is_listed_with_its_type_and_meaning() {
    let mut page = format!(
        "{GENERATED}# Metrics\n\nServed on `/metrics` in the text exposition format. Labels are closed lists, topics,\npartitions and the tables of the rules; never an id, key or error text.\n\n| name | type | labels | meaning |\n|---|---|---|---|\n"
    );
    for family in Metrics::new().families() {
        let labels = family.labels.join(", ");
        let _ =
            writeln!(page, "| `{}` | {} | {labels} | {} |", family.name, family.kind, family.help);
    }
    page.push_str("\n`received = settled + released + in flight` holds in every scrape.\n");
    is_generated("metrics.md", &page);
}

/// A command's help, and that of its own commands.
fn help(page: &mut String, command: &clap::Command, called: &str) {
    // as wide as a page, whatever terminal the test runs in
    let mut shown = command.clone().term_width(100).bin_name(called);
    let help = shown.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(page, "\n## {called}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        help_of(page, inner, called);
    }
}

fn help_of(page: &mut String, command: &clap::Command, within: &str) {
    help(page, command, &format!("{within} {}", command.get_name()));
}

#[test]
fn every_command_is_listed_with_its_help() {
    let mut page = format!(
        "{GENERATED}# The command line\n\nstdout is data, stderr is messages. Completions: `rowcast completions bash > /etc/bash_completion.d/rowcast`\n(zsh, fish, elvish and powershell alike). `NO_COLOR` is honoured; progress bars come on a terminal only.\n"
    );
    let mut command = rowcast::cli::command();
    command.build();
    help(&mut page, &command, "rowcast");
    is_generated("cli.md", &page);
}

const MYSQL: &str = "
- Nothing is rounded, cut off or padded: `datetime` and `time` without `(6)`, `float`, `binary(n)`
  are refused at start; what a value exceeds is refused with the value.
- `DECIMAL`: neither database has a number type that keeps `72.50` apart from `72.5`, so ours is text.
  A `decimal(p,s)` of yours takes what it can hold exactly (`72.5` becomes `72.50` in
  `decimal(10,2)`, `72.505` is refused).
- `DATETIME` holds UTC, in `timestamp(6)` as well; that ends in 2038.
- `STRING` with a `maximumSize` up to 255 is `varchar`, else `longtext`; `id`, `source_resource_id`
  and `parent_reference` are `varchar(255)` then. What finds rows (`source_resource_id`, or a mapped
  `id`) must have the collation `utf8mb4_bin`: to others `A` is `a`.
- `UUID`: `uuid` is MariaDB's from 10.7 on, and the smallest; `binary(16)` holds the 16 bytes in order.
- `JSON`: text in MariaDB, normalised in MySQL.
";

#[test]
fn every_accepted_column_type_is_listed_per_database() {
    let mut page = format!(
        "{GENERATED}# Column types\n\nWhich types of your columns each `columnType` is written to; the first is what `rowcast schema`\ncreates. Anything else is refused at start. PostgreSQL names are those of `pg_type`; MySQL's are\n`DATA_TYPE` of `information_schema`, with the digits that a moment keeps of a second; SQLite's are\ndeclared types or affinities.\n"
    );
    let dialects: [(&str, &dyn Dialect, &str); 3] = [
        ("PostgreSQL", &Postgres, ""),
        ("MySQL and MariaDB", &Mysql, MYSQL),
        ("SQLite", &Sqlite, ""),
    ];
    for (name, dialect, notes) in dialects {
        let _ = write!(page, "\n## {name}\n\n| columnType | accepted |\n|---|---|\n");
        let accepted = dialect.accepted();
        for group in accepted.chunk_by(|left, right| left.column_type == right.column_type) {
            let types: Vec<_> =
                group.iter().map(|entry| format!("`{}`", entry.database_type)).collect();
            if let Some(first) = group.first() {
                let _ = writeln!(page, "| `{}` | {} |", first.column_type, types.join(", "));
            }
        }
        page.push_str(notes);
    }
    is_generated("column-types.md", &page);
}

/// Each header constant and its doc comment, as they stand in the code.
fn letter_headers() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dead_letter/headers.rs");
    let code = std::fs::read_to_string(path).expect("the code is there");
    let mut headers = Vec::new();
    let mut comment = Vec::new();
    for line in code.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text);
        } else {
            let constant = line.strip_prefix("pub const ").and_then(|rest| rest.split_once('"'));
            if let Some((_, value)) = constant {
                headers.push((value.trim_end_matches("\";").to_owned(), comment.join(" ")));
            }
            comment.clear();
        }
    }
    headers.retain(|(name, _)| name != headers::PREFIX);
    headers
}

#[test]
fn every_header_and_status_of_a_letter_is_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dead-letters.md");
    let written = std::fs::read_to_string(path).expect("the page is there");
    let listed = letter_headers();
    assert!(listed.iter().any(|(name, _)| name == headers::CAUSE), "{listed:?}");
    let mut table = "| header | value |\n|---|---|\n".to_owned();
    for (name, meaning) in listed {
        let _ = writeln!(table, "| `{name}` | {} |", meaning.trim_end_matches('.'));
    }
    let mut statuses = "| status | meaning |\n|---|---|\n".to_owned();
    for status in Status::ALL {
        let _ = writeln!(statuses, "| `{status}` | {} |", status.meaning());
    }
    let page = with_block(&written, "headers", &table);
    is_generated("dead-letters.md", &with_block(&page, "statuses", &statuses));
}

/// The page with other text between `<!-- name: generated -->` and `<!-- end -->`.
pub(crate) fn with_block(page: &str, name: &str, block: &str) -> String {
    let begin = format!("<!-- {name}: generated -->\n");
    let (before, rest) = page.split_once(&begin).expect("the block begins");
    let (_, after) = rest.split_once("<!-- end -->").expect("the block ends");
    format!("{before}{begin}{block}<!-- end -->{after}")
}

#[test]
fn every_function_of_fhirpath_and_every_exception_is_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fhirpath.md");
    let written = std::fs::read_to_string(path).expect("the page is there");
    let names: Vec<_> = fhirpath::supported().iter().map(|name| format!("`{name}`")).collect();
    let mut refused = "| what | why |\n|---|---|\n".to_owned();
    for (name, reason) in fhirpath::refused() {
        let _ = writeln!(refused, "| `{name}` | {reason} |");
    }
    let mut exceptions = "| test | applies | reason |\n|---|---|---|\n".to_owned();
    for exception in crate::fhirpath::exceptions() {
        let applies = if exception.applies { "yes" } else { "no" };
        let _ = writeln!(exceptions, "| {} | {applies} | {} |", exception.test, exception.reason);
    }
    let page = with_block(&written, "functions", &format!("{}\n", names.join(" ")));
    let page = with_block(&page, "refused", &refused);
    is_generated("fhirpath.md", &with_block(&page, "exceptions", &exceptions));
}
