//! `${VAR}` and `${file:PATH}` inside scalars.
//!
//! In: the parsed tree; so a value can never add keys or lines to the file. Out: the same tree
//! with the placeholders replaced, and what could not be. Keys are left alone, and what a
//! placeholder brought is not searched again. `$${` stands for `${`. An undefined variable is a
//! problem, never an empty text: a database URL without its password connects to something else.
//!
//! A value that comes from a placeholder is text. Where the file needs a number or a boolean and
//! the scalar is exactly one placeholder, the structural check reads the text again as a YAML
//! scalar; everywhere else `${PORT}` stays the characters it is, so a password `0123` survives.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde_json::Value;

use super::secret::Secret;
use crate::problem::{Problem, pointer};

/// Largest `${file:}` read, in bytes: certificates with their chains have some ten thousand.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What interpolation knows afterwards.
#[derive(Debug, Default)]
pub(super) struct Interpolated {
    /// Scalars that were exactly one placeholder.
    pub(super) whole: BTreeSet<String>,
    /// Scalars that could not be resolved; a problem says why.
    pub(super) unresolved: BTreeSet<String>,
    /// The text between the placeholders, for scalars that had any: what somebody typed into the
    /// file, as opposed to what was brought in. Each placeholder is a NUL.
    pub(super) typed: BTreeMap<String, String>,
}

/// Where placeholders get their values.
pub(super) struct Sources<'a> {
    /// Environment variables.
    pub(super) variables: &'a dyn Fn(&str) -> Option<String>,
    /// The folder that relative paths start from.
    pub(super) folder: &'a Path,
}

enum Piece<'text> {
    Text(&'text str),
    Variable(&'text str),
    File(&'text str),
    Malformed,
}

/// Replaces the placeholders of all scalars.
pub(super) fn interpolate(
    root: &mut Value,
    file: &str,
    sources: &Sources<'_>,
    problems: &mut Vec<Problem>,
) -> Interpolated {
    let mut out = Interpolated::default();
    walk(root, "", &mut |path, text| {
        let pieces = pieces(text);
        if let [] | [Piece::Text(_)] = pieces.as_slice() {
            return;
        }
        let mut resolved = String::new();
        let mut typed = String::new();
        let mut brought = 0;
        for piece in &pieces {
            typed.push_str(literal(piece));
            match value(piece, sources) {
                Ok(value) => resolved.push_str(&value),
                Err(message) => {
                    problems.push(Problem::new(file, path, message));
                    out.unresolved.insert(path.to_owned());
                }
            }
            brought += usize::from(!matches!(piece, Piece::Text(_)));
        }
        if brought > 0 {
            out.typed.insert(path.to_owned(), typed);
        }
        if brought == 1 && pieces.len() == 1 {
            out.whole.insert(path.to_owned());
        }
        *text = resolved;
    });
    out
}

fn walk(node: &mut Value, path: &str, visit: &mut impl FnMut(&str, &mut String)) {
    match node {
        Value::String(text) => visit(path, text),
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                walk(element, &pointer::join(path, &index.to_string()), visit);
            }
        }
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                walk(member, &pointer::join(path, key), visit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = from.strip_prefix("${").unwrap_or(from);
            continue;
        }
        pieces.push(Piece::Text(before));
        let Some((inner, after)) = from.split_once('}') else {
            pieces.push(Piece::Malformed);
            return pieces;
        };
        pieces.push(placeholder(inner.strip_prefix("${").unwrap_or(inner)));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Text("")));
    pieces
}

fn placeholder(inner: &str) -> Piece<'_> {
    if let Some(path) = inner.strip_prefix("file:") {
        return if path.is_empty() { Piece::Malformed } else { Piece::File(path) };
    }
    let mut characters = inner.chars();
    let begins_well = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if begins_well && characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Piece::Variable(inner)
    } else {
        Piece::Malformed
    }
}

/// The secret that a text on the command line refers to: `${VAR}` or `${file:PATH}`, the path from the
/// working directory on. What is written out there can be read by everybody on the machine, and stays
/// in the shell's history.
///
/// # Errors
/// What is wrong with the reference; never the text, which may be a secret.
pub fn secret(reference: &str) -> Result<Secret, String> {
    let sources = Sources { variables: &|name| std::env::var(name).ok(), folder: Path::new("") };
    match pieces(reference).as_slice() {
        [piece @ (Piece::Variable(_) | Piece::File(_))] => {
            let value = value(piece, &sources)?;
            if value.is_empty() {
                return Err("refers to something empty".into());
            }
            Ok(Secret::new(value))
        }
        _ => Err("must be a reference, ${VAR} or ${file:PATH}: the command line is no place for \
                  a secret"
            .into()),
    }
}

fn literal<'text>(piece: &Piece<'text>) -> &'text str {
    match piece {
        Piece::Text(text) => text,
        Piece::Variable(_) | Piece::File(_) | Piece::Malformed => "\0",
    }
}

fn value(piece: &Piece<'_>, sources: &Sources<'_>) -> Result<String, String> {
    match piece {
        Piece::Text(text) => Ok((*text).to_owned()),
        Piece::Variable(name) => (sources.variables)(name)
            .ok_or_else(|| format!("the environment variable `{name}` is not set")),
        Piece::File(path) => read(&sources.folder.join(path))
            .map_err(|error| format!("the file `{path}` cannot be read: {error}")),
        Piece::Malformed => {
            Err("is no placeholder: write ${NAME} or ${file:PATH}, or $${ for the \
                                 characters themselves"
                .to_owned())
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let text = super::load::read(path, MAX_FILE_BYTES)?;
    // editors and `echo` end a file with a line feed that is no part of a password
    let content = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(&text);
    Ok(content.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(mut tree: Value, folder: &Path) -> (Value, Interpolated, Vec<String>) {
        let variables = |name: &str| match name {
            "HOST" => Some("db".to_owned()),
            "NESTED" => Some("${HOST}".to_owned()),
            _ => None,
        };
        let mut problems = Vec::new();
        let sources = Sources { variables: &variables, folder };
        let out = interpolate(&mut tree, "t.yaml", &sources, &mut problems);
        (tree, out, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn variables_are_replaced_inside_scalars_and_not_in_keys() {
        let (tree, out, problems) =
            run(json!({"${HOST}": ["postgres://${HOST}:5432/x", 1]}), Path::new(""));
        assert_eq!(tree, json!({"${HOST}": ["postgres://db:5432/x", 1]}));
        assert_eq!(out.typed["/${HOST}/0"], "postgres://\0:5432/x");
        assert!(problems.is_empty() && out.whole.is_empty());
    }

    #[test]
    fn a_value_that_was_brought_in_is_not_searched_again() {
        let (tree, out, _) = run(json!({"a": "${NESTED}"}), Path::new(""));
        assert_eq!(tree, json!({"a": "${HOST}"}));
        assert!(out.whole.contains("/a"));
    }

    #[test]
    fn a_doubled_dollar_is_the_characters_themselves() {
        let (tree, _, problems) =
            run(json!(["$${HOST}", "a$${HOST} ${HOST}", "$HOST", "5$"]), Path::new(""));
        assert_eq!(tree, json!(["${HOST}", "a${HOST} db", "$HOST", "5$"]));
        assert!(problems.is_empty());
    }

    #[test]
    fn every_placeholder_that_cannot_be_resolved_is_named_with_its_place() {
        let (_, out, problems) = run(
            json!({"a": "${ABSENT}/${GONE}", "b": "${file:none}", "c": "${X:-1}", "d": "${"}),
            Path::new("/nowhere"),
        );
        assert_eq!(problems.len(), 5);
        assert_eq!(problems[0], "t.yaml#/a: the environment variable `ABSENT` is not set");
        assert_eq!(problems[1], "t.yaml#/a: the environment variable `GONE` is not set");
        assert!(problems[2].starts_with("t.yaml#/b: the file `none` cannot be read:"));
        assert!(problems[3].starts_with("t.yaml#/c: is no placeholder"));
        assert!(problems[4].starts_with("t.yaml#/d: is no placeholder"));
        assert_eq!(out.unresolved.len(), 4);
    }

    #[test]
    fn a_file_is_read_from_the_folder_without_its_last_line_feed() {
        let folder = tempfile::tempdir().expect("a folder");
        for (content, expected) in
            [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), ("pw\n\n", "pw\n"), ("pw\r", "pw\r")]
        {
            std::fs::write(folder.path().join("pw"), content).expect("written");
            let (tree, _, _) = run(json!("x${file:pw}"), folder.path());
            assert_eq!(tree, json!(format!("x{expected}")), "{content:?}");
        }
    }
}
