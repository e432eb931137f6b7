//! Other machines: what an address of HTTP is, whether what goes there can be read on the way, and
//! which secrets are sound. Asked by every section that names one, and by the command line.
//!
//! In: texts as written. Out: addresses, or what is wrong with them. It never connects, and no
//! message repeats an address or a secret.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use url::Url;

use super::load::{cannot_be_read, read};
use super::resolve::Findings;
use super::secret::Secret;

/// Shortest token that others show us, in characters: shorter ones can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Largest file of certificates, in bytes.
const MAX_CERTIFICATES: u64 = 1 << 20;

/// An address of HTTP: `http` or `https`, without user, query and fragment.
///
/// # Errors
/// What is wrong with it.
pub fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or("is no http or https URL")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold user or password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path".into());
    }
    Ok(url)
}

/// Whether what goes there can be read on the way: it leaves this machine without encryption.
#[must_use]
pub fn is_in_the_clear(url: &Url) -> bool {
    url.scheme() == "http" && !url.host_str().is_some_and(is_loopback)
}

/// Whether a host is this machine, by its name or address; IPv6 with brackets or without.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Checks a token that becomes part of a header.
///
/// # Errors
/// What is wrong with it.
pub fn check_token(token: &Secret) -> Result<(), String> {
    if token.expose().is_empty() {
        return Err("must not be empty".into());
    }
    if !token.expose().chars().all(|c| c.is_ascii_graphic()) {
        return Err("is no token: it has spaces or characters beyond ASCII".into());
    }
    Ok(())
}

/// Finds what is wrong with a token at `path`. `typed`: what stands in the file itself where
/// placeholders were.
pub(super) fn accept_token(
    path: &str,
    token: &Secret,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) {
    found.take(path, check_token(token));
    warn_of_typed(path, typed, found);
}

/// The same with a token that others show us, and that they may guess.
pub(super) fn accept_own_token(
    path: &str,
    token: &Secret,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) {
    accept_token(path, token, typed, found);
    if check_token(token).is_ok() && token.expose().len() < SHORTEST_TOKEN {
        found.problem(path, format!("is too short: take {SHORTEST_TOKEN} characters or more"));
    }
}

/// The same with a secret of any characters.
pub(super) fn accept_secret(
    path: &str,
    secret: &Secret,
    typed: &BTreeMap<String, String>,
    found: &mut Findings<'_>,
) {
    if secret.expose().is_empty() {
        found.problem(path, "must not be empty");
    }
    warn_of_typed(path, typed, found);
}

fn warn_of_typed(path: &str, typed: &BTreeMap<String, String>, found: &mut Findings<'_>) {
    if typed.get(path).is_none_or(|text| text.chars().any(|c| c != '\0')) {
        found.warning(path, "a secret stands in the file: use ${VAR} or ${file:PATH}");
    }
}

/// The certificates of authorities in a file beside the topology; `None` without one, or if it
/// cannot be read.
pub(super) fn authorities(
    path: &str,
    file: Option<&str>,
    folder: &Path,
    found: &mut Findings<'_>,
) -> Option<String> {
    let file = file?;
    let text = read(&folder.join(file), MAX_CERTIFICATES);
    found.take(path, text.map_err(|error| format!("`{file}` {}", cannot_be_read(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_http_ends_with_its_path_and_holds_no_password() {
        for text in ["http://fhir.example", "https://fhir.example:8443/fhir", "http://[::1]:8080/"]
        {
            assert!(http_url(text).is_ok(), "{text}");
        }
        for text in [
            "fhir.example",
            "ftp://fhir.example",
            "https://canary:canary@fhir.example",
            "https://canary@fhir.example",
            "https://fhir.example/fhir?canary=1",
            "https://fhir.example/fhir#canary",
        ] {
            let message = http_url(text).expect_err(text);
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn only_what_stays_on_this_machine_or_is_encrypted_cannot_be_read_on_the_way() {
        let clear = |text: &str| is_in_the_clear(&http_url(text).expect(text));
        for text in [
            "https://fhir.example",
            "http://localhost:8080",
            "http://LOCALHOST",
            "http://127.8.0.1",
            "http://[::1]:8080",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(!clear(text), "{text}");
        }
        for text in [
            "http://fhir.example",
            "http://localhost.example",
            "http://10.0.0.1",
            "http://[::2]",
            "http://0.0.0.0",
        ] {
            assert!(clear(text), "{text}");
        }
    }

    #[test]
    fn a_token_fits_into_a_header() {
        let check = |token: &str| check_token(&Secret::new(token));
        assert_eq!(check("a-token_0123.456~789+/="), Ok(()));
        for token in ["", " ", "a b", "a\r\nx: y", "tökén"] {
            assert!(check(token).is_err(), "{token:?}");
        }
    }
}
