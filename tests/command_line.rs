//! The command line itself: its help, what it prints and when nobody reads it any more.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::Rowcast;
use crate::support::pipeline::{Pipeline, RULES, patient};

/// A command without commands of its own, as it is called.
fn leaves(command: &clap::Command, called: &[&str]) -> Vec<(String, clap::Command)> {
    let inner: Vec<_> =
        command.get_subcommands().filter(|inner| inner.get_name() != "help").collect();
    let is_called = inner.is_empty() || !command.is_subcommand_required_set();
    let mut leaves = Vec::new();
    if is_called && called.len() > 1 {
        leaves.push((called.join(" "), command.clone()));
    }
    for inner in inner {
        leaves.extend(self::leaves(inner, &[called, &[inner.get_name()]].concat()));
    }
    leaves
}

/// The words of a line as a shell would find them, up to what is no part of the command: a remark
/// behind two blanks, a pipe, a file to write to.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut blanks) = (None, 0);
    for c in line.chars() {
        blanks = if c == ' ' && quote.is_none() { blanks + 1 } else { 0 };
        match c {
            _ if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            ' ' if quote.is_none() => words.push(String::new()),
            '|' | '<' | '>' | '\\' if quote.is_none() => break,
            c => words.last_mut().expect("a word").push(c),
        }
        if blanks == 2 {
            break;
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn the_help_of_every_command_has_examples_and_each_of_them_is_a_command() {
    let mut rowcast = rowcast::cli::command();
    rowcast.build();
    let leaves = leaves(&rowcast, &["rowcast"]);
    assert!(leaves.len() > 25, "{leaves:?}");
    for (called, leaf) in leaves {
        let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
        let examples: Vec<&str> = examples
            .lines()
            .filter_map(|line| Some(&line[line.find("rowcast ")?..]))
            .filter(|line| line.starts_with(&called))
            .collect();
        assert!(!examples.is_empty(), "`{called} --help` has no example");
        for example in examples.into_iter().filter(|example| !example.ends_with('\\')) {
            let parsed = rowcast::cli::command().try_get_matches_from(words(example));
            assert!(parsed.is_ok(), "{example}: {}", parsed.expect_err("refused"));
        }
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let printed = Rowcast::run(&["completions", shell]).stdout;
        assert!(String::from_utf8_lossy(&printed).contains("dead-letters"), "{shell}");
    }
}

/// Reads a line of what a command prints, and closes the pipe: as `| head -1`. How it ended, and
/// what it said on stderr.
fn read_one_line(arguments: &[String]) -> (Option<i32>, String) {
    let mut command = Rowcast::command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stdout = BufReader::with_capacity(1, child.stdout.take().expect("a pipe"));
    let mut line = Vec::new();
    stdout.read_until(b'\n', &mut line).expect("a line");
    assert!(!line.is_empty());
    drop(stdout);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!(status.signal(), None);
    (status.code(), said)
}

/// Ends as it would if SIGPIPE ended it, in the eyes of a shell, and without a word.
fn ends_quietly(arguments: &[&str], pipeline: &Pipeline) {
    let topology = pipeline.path("topology.yaml");
    let mut all: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
    all.extend(["--topology".to_owned(), topology]);
    let (code, said) = read_one_line(&all);
    let said: Vec<_> = said.lines().filter(|line| !line.contains("embedded broker")).collect();
    assert_eq!((code, said.as_slice()), (Some(141), [].as_slice()), "{arguments:?}");
}

#[test]
fn a_command_whose_reader_has_enough_ends_quietly() {
    // more than a pipe holds, so that it must notice
    let column = |name: &str, path: &str| json!({ "columnName": name, "fhirPath": path, "columnType": "STRING" });
    let genders = (0..2000).map(|number| column(&format!("gender_{number}"), "Patient.gender"));
    let columns: Vec<_> = std::iter::once(column("id", "Patient.id")).chain(genders).collect();
    let rules = json!({ "transformers": [
        { "resourceType": "Patient", "tableName": "patient", "columns": columns },
    ] });
    let wide = Pipeline::embedded(&rules.to_string(), "");
    ends_quietly(&["schema"], &wide);
    ends_quietly(&["schema", "diff", "--output", "json"], &wide);

    let pipeline = Pipeline::embedded(RULES, "dead_letter: { max_ratio: 1 }");
    pipeline.create_tables();
    let twice = json!({ "address": [{ "city": "A" }, { "city": "B" }] });
    let letters: Vec<_> = (0..400).map(|id| patient(&format!("p{id}"), 1, &twice)).collect();
    pipeline.produce(&letters);
    pipeline.run_until_idle();
    ends_quietly(&["dead-letters", "list", "--output", "json"], &pipeline);
    ends_quietly(&["dead-letters", "export"], &pipeline);
}

#[test]
fn a_disk_that_is_full_is_told_and_no_panic() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    let mut command = Rowcast::command(&["metrics", "--list"]);
    let ended = command.stdout(full).output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: stdout: "), "{said}");
}

#[test]
fn messages_that_nobody_reads_are_lost_and_nothing_else() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let topology = pipeline.path("topology.yaml");
    let mut command = Rowcast::command(&["check", "--topology", &topology]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// Runs a command on a terminal; all that appears there.
fn on_a_terminal(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    const TERMINAL: &str = "import os, pty, sys; os.environ['TERM'] = 'xterm'; \
                            sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let output = Command::new("python3")
        .args(["-c", TERMINAL, env!("CARGO_BIN_EXE_rowcast")])
        .args(arguments)
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("python3 runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const ESCAPE: char = '\u{1b}';

#[test]
fn colours_and_bars_are_for_a_terminal_and_colours_for_one_that_takes_them() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let topology = pipeline.path("topology.yaml");
    let run = ["run", "--until-idle", "1s", "--topology", &topology];
    let lists = ["metrics", "--list"];
    let help = ["run", "--help"];

    assert!(on_a_terminal(&help, &[]).contains(ESCAPE));
    let coloured = on_a_terminal(&run, &[]);
    assert!(coloured.contains(ESCAPE) && coloured.contains("starting"), "{coloured}");
    for arguments in [run.as_slice(), &lists, &help] {
        let plain = on_a_terminal(arguments, &[("NO_COLOR", "1")]);
        assert!(!plain.is_empty() && !plain.contains(ESCAPE), "{plain:?}");
        let output = Rowcast::run(arguments);
        assert!(![output.stdout, output.stderr].concat().contains(&(ESCAPE as u8)));
    }
    std::fs::write(pipeline.path("some.ndjson"), "").expect("written");
    let produced = pipeline.command(&["produce", &pipeline.path("some.ndjson")]);
    assert!(!produced.stderr.contains(&(ESCAPE as u8)) && !produced.stderr.contains(&b'\r'));
}
