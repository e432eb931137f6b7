//! The text of a file becomes a JSON tree.
//!
//! In: JSON or YAML. Out: a [`Value`] whose objects have each key once, or the line at which
//! reading stopped. Errors never show the text: passwords stand in such files.

use serde_json::Value;
use serde_saphyr::{RenderOptions, SnippetMode, UserMessageFormatter};

use super::Problem;
use super::unique::Unique;

/// Reads JSON (`*.json`) or YAML (any other name). A key given twice is an error in both.
///
/// # Errors
/// One [`Problem`] with the line at which reading stopped.
pub fn parse(file: &str, text: &str) -> Result<Value, Problem> {
    let is_json = file.rsplit_once('.').is_some_and(|(_, end)| end.eq_ignore_ascii_case("json"));
    let read = if is_json { json(text) } else { yaml(text) };
    read.map_err(|fault| Problem::new(file, "", format!("cannot be read: {fault}")))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map(|Unique(value)| value).map_err(|error| error.to_string())
}

/// Reads YAML 1.2, without the habits of YAML 1.1 that change what was written: `no` is text,
/// `0123` keeps its zero.
///
/// # Errors
/// What stopped the reading, and at which line.
pub fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map(|Unique(value)| value).map_err(|error| {
        let mut render = RenderOptions::new(&UserMessageFormatter);
        // a snippet would show what stands in the file
        render.snippets = SnippetMode::Off;
        error.render_with_options(render)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_given_twice_is_a_fault_in_json_and_yaml() {
        for (file, text) in
            [("house.json", "{\"a\": 1,\n \"a\": 2}"), ("house.yaml", "a: 1\na: 2\n")]
        {
            let problem = parse(file, text).expect_err("twice");
            assert!(problem.message.contains("line 2"), "{problem}");
        }
    }

    #[test]
    fn yaml_is_read_as_it_is_written() {
        let read = parse("house.yaml", "a: [1, -2, 1.5, x, true, ~]\nb: {}\n").expect("YAML");
        assert_eq!(read, json!({"a": [1, -2, 1.5, "x", true, null], "b": {}}));
        let read = yaml("[no, 0123, 1_000, 'true', 18446744073709551615]").expect("YAML");
        assert_eq!(read, json!(["no", "0123", "1_000", "true", u64::MAX]));
        assert_eq!(yaml(""), Ok(Value::Null));
    }

    #[test]
    fn a_number_beyond_64_bits_is_read_alike_in_json_and_yaml() {
        for digits in
            ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890"]
        {
            let read = parse("house.json", digits).expect("JSON");
            assert_eq!(yaml(digits), Ok(read));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_without_its_text() {
        for (file, text) in [
            ("house.json", "{\"a\": canary}"),
            ("house.json", "{\"a\": \"canary\n\"}"),
            ("house.json", "{\"a\": 1, \"a\": \"canary\"}"),
            ("house.yaml", "a: [canary"),
            ("house.yaml", "a: 1\na: canary"),
            ("house.yaml", "a: *canary"),
            ("house.yaml", "a: !!int canary"),
            ("house.yaml", "? [canary]\n: 1"),
        ] {
            let problem = parse(file, text).expect_err(text);
            assert!(problem.message.starts_with("cannot be read: "), "{problem}");
            assert!(!problem.message.contains("canary"), "{problem}");
        }
    }
}
