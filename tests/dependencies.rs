//! The manifest and what is written about it.

use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The crates that the manifest names, in its order.
fn direct() -> Vec<String> {
    let mut wanted = false;
    let mut names = Vec::new();
    for line in read("Cargo.toml").lines() {
        if line.starts_with('[') {
            wanted = matches!(line, "[dependencies]" | "[dev-dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ")
            && wanted
            && !line.starts_with([' ', '#'])
        {
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn every_direct_dependency_has_its_line_with_a_runner_up_and_no_line_is_left_over() {
    let document = read("docs/dependencies.md");
    let told = document.split("## Ruled out").next().expect("a beginning");
    let mut told: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .filter(|name| *name != "crate")
        .collect();
    let mut direct = direct();
    assert!(direct.len() > 20, "the manifest was read");
    told.sort_unstable();
    direct.sort_unstable();
    // a crate may stand under both kinds, with other features for tests
    direct.dedup();
    assert_eq!(told, direct);
}
