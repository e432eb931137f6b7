//! What a request says of who sent it, where no token does.
//!
//! In: its headers. Out: which host it meant, and whether a page in a browser sent it. Any page reaches
//! what listens on its reader's own machine: at its address, or under a name of the page's own that was
//! made to mean this machine meanwhile (DNS rebinding). Browsers name the page in the first case, and
//! that name in the second; neither can be left out by a page.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, header};

/// How a browser says where a page stands to what it asks.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a browser sent it, for a page or (newer ones) for its user.
pub(crate) fn is_from_a_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

/// The host that it meant: a name, or an address without brackets, without its port. `None` if it
/// names none, or several.
pub(crate) fn host(headers: &HeaderMap) -> Option<String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    let authority = Authority::try_from(host.as_bytes()).ok()?;
    let host = authority.host();
    Some(host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_host_is_told_without_its_port() {
        let of = |text| host(&headers(&[(header::HOST, text)]));
        for (text, meant) in [
            ("localhost", "localhost"),
            ("LocalHost:9464", "localhost"),
            ("127.0.0.1:9464", "127.0.0.1"),
            ("[::1]:9464", "::1"),
            ("[::1]", "::1"),
            ("127.0.0.1.page.example:80", "127.0.0.1.page.example"),
        ] {
            assert_eq!(of(text).as_deref(), Some(meant), "{text}");
        }
        assert_eq!(of("two words"), None);
        assert_eq!(of(""), None);
        assert_eq!(host(&headers(&[])), None);
        let two = headers(&[(header::HOST, "localhost"), (header::HOST, "page.example")]);
        assert_eq!(host(&two), None);
    }

    #[test]
    fn a_browser_is_known_by_what_it_says_of_the_page() {
        assert!(is_from_a_browser(&headers(&[(header::ORIGIN, "null")])));
        assert!(is_from_a_browser(&headers(&[(SEC_FETCH_SITE, "cross-site")])));
        assert!(!is_from_a_browser(&headers(&[(header::HOST, "localhost")])));
    }
}
