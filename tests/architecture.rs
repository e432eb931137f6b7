//! Keeps the arrows between the modules, the purity of the pure ones, and the shape of files.
//!
//! In: the text of `src/`. What a module may use is the table [`ARROWS`]; changing the
//! architecture means changing the table (and ARCHITECTURE.md) in the same commit.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Each module of `src/` and the modules it may use, leaves first.
const ARROWS: [(&str, &[&str]); 21] = [
    ("error", &["model"]),
    ("retry", &[]),
    ("http_client", &[]),
    ("http_server", &[]),
    ("problem", &[]),
    ("model", &["error"]),
    ("telemetry", &["error", "http_server", "model", "problem", "retry"]),
    ("broker", &["error", "model", "problem", "retry", "telemetry"]),
    // the stages; the only arrow between two of them is sink -> plan
    ("source", &["error", "model", "problem"]),
    ("transform", &["error", "model", "problem"]),
    ("plan", &["error", "model", "problem"]),
    ("sink", &["broker", "error", "model", "plan", "problem", "retry", "telemetry"]),
    ("dead_letter", &["broker", "error", "model", "problem", "retry", "telemetry"]),
    // what is put together of them
    (
        "topology",
        &[
            "broker",
            "dead_letter",
            "error",
            "model",
            "plan",
            "problem",
            "retry",
            "sink",
            "source",
            "transform",
        ],
    ),
    // brings what decode needs from outside
    ("registry", &["error", "http_client", "model", "retry", "source", "topology"]),
    // the client of a FHIR server, and the records of what it says
    ("fhir_server", &["broker", "error", "http_client", "model", "source", "topology"]),
    // fills the ingest topic from a FHIR server
    (
        "pointcut",
        &[
            "broker",
            "error",
            "fhir_server",
            "http_server",
            "model",
            "retry",
            "source",
            "telemetry",
            "topology",
        ],
    ),
    (
        "runtime",
        &[
            "broker",
            "dead_letter",
            "error",
            "model",
            "plan",
            "problem",
            "registry",
            "retry",
            "sink",
            "source",
            "telemetry",
            "topology",
            "transform",
        ],
    ),
    (
        "application",
        &[
            "broker",
            "dead_letter",
            "error",
            "model",
            "plan",
            "pointcut",
            "problem",
            "registry",
            "retry",
            "runtime",
            "sink",
            "source",
            "telemetry",
            "topology",
            "transform",
        ],
    ),
    // fills the ingest topic from elsewhere
    ("load", &["application", "broker", "error", "fhir_server", "model", "retry", "source"]),
    (
        "cli",
        &[
            "application",
            "broker",
            "dead_letter",
            "error",
            "fhir_server",
            "http_client",
            "load",
            "model",
            "plan",
            "pointcut",
            "problem",
            "registry",
            "retry",
            "runtime",
            "sink",
            "source",
            "telemetry",
            "topology",
            "transform",
        ],
    ),
];

/// Modules without I/O, clock, randomness, concurrency and logging: the same record always makes
/// the same rows.
const PURE: [&str; 4] = ["model", "source", "transform", "plan"];

/// Words that have no place in a pure module.
const IMPURE: [&str; 22] = [
    "async",
    "await",
    "tokio",
    "rdkafka",
    "axum",
    "tracing",
    "prometheus",
    "fastrand",
    "new_v4",
    "now_v7",
    "RandomState",
    "SystemTime",
    "Instant",
    "Utc::now",
    "Local::now",
    "std::fs",
    "std::net",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "thread_local",
];

/// Longest file, in lines, its tests included: one file is one concept.
const LONGEST: usize = 500;

/// Files that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 0] = [];

#[test]
fn modules_use_only_what_the_table_allows() {
    assert_none(&over_sources(forbidden_arrows));
}

#[test]
fn pure_modules_do_nothing_but_compute() {
    assert_none(&over_sources(impurities));
}

#[test]
fn every_file_opens_with_what_it_is() {
    assert_none(&over_sources(|source| {
        let opens = source.text.starts_with("//!");
        if opens { Vec::new() } else { vec![format!("{}: does not open with //!", source.path)] }
    }));
}

#[test]
fn no_file_is_longer_than_one_concept() {
    assert_none(&over_sources(|source| {
        let lines = source.text.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        match (lines > LONGEST, excused) {
            (true, false) => vec![format!("{}: {lines} lines, more than {LONGEST}", source.path)],
            (false, true) => vec![format!("{}: is listed as long and is not", source.path)],
            _ => Vec::new(),
        }
    }));
    for (path, _) in LONG_FILES {
        assert!(root().join("src").join(path).exists(), "{path} is listed and does not exist");
    }
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    let found = |path: &str, text: &str| forbidden_arrows(&Source::new(path, text)).len();
    assert_eq!(found("plan/fold.rs", "use crate::sink::Sink;"), 1);
    assert_eq!(found("plan/fold.rs", "use crate::{model::Row, sink::{Sink, Owner}};"), 1);
    assert_eq!(found("plan/fold.rs", "use crate::{\n    runtime,\n    sink::Sink,\n};"), 2);
    assert_eq!(found("plan/mod.rs", "fn f() -> super::sink::Owner {}"), 1);
    assert_eq!(found("plan/sqlite/mod.rs", "use super::super::sink;"), 1);
    assert_eq!(found("sink/mod.rs", "pub(crate) use crate::plan::Plan; use crate :: source;"), 1);
    assert_eq!(found("newroom/mod.rs", "//! no place in the table"), 1);
    assert_eq!(found("main.rs", "use rowcast::cli; use rowcast::runtime;"), 1);
    // allowed, or not an arrow at all
    assert_eq!(found("sink/mod.rs", "use crate::plan::Plan;"), 0);
    assert_eq!(found("plan/mod.rs", "use crate::plan::fold; use super::model::Row;"), 0);
    assert_eq!(found("plan/sqlite.rs", "use super::fold; pub(in crate::plan) fn f() {}"), 0);
    assert_eq!(found("plan/mod.rs", "//! not [`crate::sink`]\n/* crate::sink */"), 0);
    assert_eq!(found("plan/mod.rs", "const A: &str = \"crate::sink\"; const B: char = '\"';"), 0);
    assert_eq!(found("plan/mod.rs", "#[cfg(test)]\nmod tests { use crate::sink::Sink; }"), 0);
    assert_eq!(found("lib.rs", "pub mod sink; pub use crate::runtime::run;"), 0);
}

#[test]
fn an_impure_word_is_found_in_code_only() {
    let found = |path: &str, text: &str| impurities(&Source::new(path, text)).len();
    assert_eq!(found("plan/fold.rs", "let now = std::time::SystemTime::now();"), 1);
    assert_eq!(found("source/mod.rs", "async fn f() { g().await }"), 2);
    assert_eq!(found("transform/mod.rs", "use std::{fs, io::Read};"), 2);
    assert_eq!(found("model/row.rs", "use chrono::Utc; fn f() { Utc :: now() }"), 1);
    assert_eq!(found("sink/mod.rs", "async fn f() {}"), 0);
    assert_eq!(found("plan/mod.rs", "//! no async\nlet asynchronous = \"tokio\"; // tokio"), 0);
}

/// A file of `src/` with its code alone: no comments, texts or tests.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = without_tests(&without_comments_and_texts(text));
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The module directly below the crate that the file belongs to, `lib` and `main` included.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or(&self.path);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super` lead from the file's own module to the crate.
    fn depth(&self) -> usize {
        let inner = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        inner.split('/').count()
    }
}

fn forbidden_arrows(source: &Source) -> Vec<String> {
    let module = source.module();
    if module == "lib" {
        return Vec::new();
    }
    let allowed: &[&str] = match ARROWS.iter().find(|(name, _)| *name == module) {
        Some((_, allowed)) => allowed,
        None if module == "main" => &["cli"],
        None => return vec![format!("{}: `{module}` is not in the table of modules", source.path)],
    };
    let known = |used: &&String| ARROWS.iter().any(|(name, _)| name == *used);
    used_modules(source)
        .iter()
        .filter(known)
        .filter(|used| *used != module && !allowed.contains(&used.as_str()))
        .map(|used| format!("{}: `{module}` may not use `{used}`", source.path))
        .collect()
}

/// The names directly behind a path to the crate itself.
fn used_modules(source: &Source) -> BTreeSet<String> {
    let code = tight(&source.code);
    let to_crate = "super::".repeat(source.depth());
    let mut used = BTreeSet::new();
    for start in ["crate::", "rowcast::", to_crate.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            let inside_a_path = before.is_some_and(|c| c.is_alphanumeric() || "_:".contains(c));
            if !inside_a_path {
                used.extend(heads(&code[at + start.len()..]));
            }
        }
    }
    used
}

/// The first names of a path or of a group of paths: `a::b` yields `a`, `{a::b,c}` yields both.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut depth = 1;
    let mut found = vec![name(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => found.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn impurities(source: &Source) -> Vec<String> {
    if !PURE.contains(&source.module()) {
        return Vec::new();
    }
    let code = tight(&source.code);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let as_word = |word: &str| {
        code.match_indices(word).any(|(at, _)| {
            !code[..at].chars().next_back().is_some_and(is_name)
                && !code[at + word.len()..].chars().next().is_some_and(is_name)
        })
    };
    let grouped = |word: &str| {
        let Some((crate_name, wanted)) = word.split_once("::") else { return false };
        let start = format!("{crate_name}::{{");
        code.match_indices(&start)
            .any(|(at, _)| heads(&code[at + start.len() - 1..]).iter().any(|head| head == wanted))
    };
    IMPURE
        .iter()
        .filter(|word| as_word(word) || grouped(word))
        .map(|word| format!("{}: `{word}` in a pure module", source.path))
        .collect()
}

/// Code without white space around `::`, `{` and `,`, so that a path is one stretch of text.
fn tight(code: &str) -> String {
    let mut tight = String::with_capacity(code.len());
    let mut words = code.split_whitespace().peekable();
    while let Some(word) = words.next() {
        tight.push_str(word);
        let joins = |c: Option<char>| c.is_some_and(|c| ":{,".contains(c));
        let next = words.peek().and_then(|next| next.chars().next());
        if !joins(word.chars().next_back()) && !joins(next) {
            tight.push(' ');
        }
    }
    tight
}

/// Blanks comments, string and character literals.
fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_text(rest, code.chars().next_back()) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').unwrap_or(0) + 1;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if c == '"' {
            end_of_text(rest, '"')
        } else if c == '\'' && is_character(rest) {
            end_of_text(rest, '\'')
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The number of `#` if a raw string begins here.
fn raw_text(rest: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| (c.is_alphanumeric() && c != 'b') || c == '_') {
        return None;
    }
    let inner = rest.strip_prefix('r')?;
    let unhashed = inner.trim_start_matches('#');
    unhashed.starts_with('"').then_some(inner.len() - unhashed.len())
}

/// Whether a quote begins a character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

/// The length of a literal that begins and ends with this quote.
fn end_of_text(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// Cuts what follows `#[cfg(test)]`: by convention tests are last in a file.
fn without_tests(code: &str) -> String {
    code.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a check finds in all files of `src/`, except files that hold tests only.
fn over_sources(check: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src/ can be read") {
            let path = entry.expect("src/ can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(root().join("src")).expect("it is inside");
            let name = inside.to_str().expect("names are UTF-8").to_owned();
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            if is_rust && !name.ends_with("tests.rs") && !name.contains("tests/") {
                files += 1;
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                found.extend(check(&Source::new(&name, &text)));
            }
        }
    }
    assert!(files > 10, "the sources were not found");
    found.sort();
    found
}

fn assert_none(found: &[String]) {
    let mut report = String::new();
    for finding in found {
        let _ = writeln!(report, "  {finding}");
    }
    assert!(found.is_empty(), "\n{report}");
}
