//! The five-minute tour is what it says: its commands are run, and print what stands there.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::support::free_port;

/// What is printed between two commands, by itself on a line.
const NEXT: &str = "--next--";

/// A command of the tour, with what it prints.
struct Step {
    command: String,
    prints: Vec<String>,
}

/// The commands in the `console` blocks, each with its here-document and the lines below it.
fn steps(tour: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut document) = (false, false);
    for line in tour.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    document = command.ends_with("<<'END'");
                    steps.push(Step { command: command.to_owned(), prints: Vec::new() });
                }
                (None, Some(step)) if document => {
                    write!(step.command, "\n{line}").expect("text grows");
                    document = line != "END";
                }
                (None, Some(step)) => step.prints.push(line.to_owned()),
                (None, None) => panic!("before any command: {line}"),
            },
        }
    }
    steps
}

/// Whether lines are those of the tour, where `...` stands for lines, or for the rest of one, and a
/// table may have columns that are not shown.
fn are_as_told(told: &[String], printed: &[&str]) -> bool {
    let Some((first, rest)) = told.split_first() else { return printed.is_empty() };
    if first == "..." {
        return (0..=printed.len()).any(|left_out| are_as_told(rest, &printed[left_out..]));
    }
    printed.split_first().is_some_and(|(line, printed)| {
        let is_same = line.trim_end() == first.trim_end();
        let is_row = first.starts_with('|') && cells(line).starts_with(&cells(first));
        (is_same || is_row) && are_as_told(rest, printed)
    })
}

/// The cells of a table's row, however wide they are; without the `...` that stands for more.
fn cells(row: &str) -> Vec<&str> {
    let row = row.trim_end_matches("...").trim_end().trim_matches('|');
    row.split('|').map(|cell| cell.trim().trim_matches('-')).collect()
}

#[test]
fn the_tour_prints_what_it_says() {
    let tour = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tour.md");
    let tour = std::fs::read_to_string(tour).expect("it is there");
    let folder = tempfile::tempdir().expect("a folder");
    let binary = Path::new(env!("CARGO_BIN_EXE_rowcast"));
    let (mut begun, mut wanted) = (false, Vec::new());
    let mut script = String::from("set -m\n");
    for step in steps(&tour) {
        let command = match step.command.as_str() {
            "make demo" => "rowcast demo --dir rowcast-demo 2> /dev/null".to_owned(),
            // a program that need not be here
            command if command.starts_with("sqlite3 ") => continue,
            "cd rowcast-demo" => {
                begun = true;
                let port = free_port();
                format!("cd rowcast-demo; echo 'http: {{ listen: 127.0.0.1:{port} }}' >> demo.yaml")
            }
            command if command.starts_with("export PATH=") => {
                "export ROWCAST_TOPOLOGY=demo.yaml".to_owned()
            }
            command => command.to_owned(),
        };
        write!(script, "{command}\necho {NEXT}\n").expect("text grows");
        wanted.push(step);
    }
    assert!(begun, "the tour goes into the demo's folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let folder_of_binary = binary.parent().expect("a folder").display();
    let ended = Command::new("bash")
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(folder.path())
        .env("PATH", format!("{folder_of_binary}:{path}"))
        .env_remove("RUST_LOG")
        .output()
        .expect("bash");
    let printed = String::from_utf8(ended.stdout).expect("text");
    let parts: Vec<&str> = printed.split(&format!("{NEXT}\n")).collect();
    for (step, part) in wanted.iter().zip(&parts) {
        let lines: Vec<&str> = part.lines().collect();
        assert!(are_as_told(&step.prints, &lines), "$ {}\n{part}", step.command);
    }
    assert_eq!(parts.len(), wanted.len() + 1, "{printed}");
}
