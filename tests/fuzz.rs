//! The fuzz targets over their seeds: what a fuzzer once found stays mended (`make fuzz` looks for
//! more).

use std::fs;
use std::path::PathBuf;

#[allow(unreachable_pub)] // a library of its own for the fuzzers
#[path = "../fuzz/src/lib.rs"]
mod targets;

fn run(name: &str, target: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut ran = 0;
    for entry in fs::read_dir(folder).unwrap() {
        target(&fs::read(entry.unwrap().path()).unwrap());
        ran += 1;
    }
    assert!(ran > 0, "there are seeds");
}

#[test]
fn no_seed_of_the_fuzzers_breaks_an_expression() {
    run("expression", targets::expression);
}

#[test]
fn no_seed_of_the_fuzzers_breaks_a_document() {
    run("document", targets::document);
}

#[test]
fn no_seed_of_the_fuzzers_breaks_the_rules() {
    run("rules", targets::rules);
}
