//! The database URL: what is accepted, and what of it may be shown.
//!
//! Checked here rather than by the driver, because the driver's messages quote what they refuse,
//! and it logs options it does not know together with their values.

use std::path::Path;

use url::Url;

use super::secret::Secret;

/// What the PostgreSQL driver takes in the query of a URL.
const POSTGRES_OPTIONS: [&str; 17] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// What the SQLite driver takes in the query of a URL.
const SQLITE_OPTIONS: [&str; 4] = ["cache", "immutable", "mode", "vfs"];

/// How a PostgreSQL connection may be protected, from the weakest to the strongest.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

const EXPECTED: &str =
    "must be a database URL: postgres://user@host:5432/database or sqlite://file.db";

/// Accepts a URL; a relative SQLite file becomes relative to `folder`.
pub(super) fn accept(url: &Secret, folder: &Path) -> Result<Secret, String> {
    match sqlite(url.expose()) {
        Some((database, options)) => accept_sqlite(url, folder, database, options),
        None => accept_postgres(url),
    }
}

fn accept_sqlite(
    url: &Secret,
    folder: &Path,
    database: &str,
    options: &str,
) -> Result<Secret, String> {
    if database.is_empty() {
        return Err("names no SQLite file".into());
    }
    for (key, _) in url::form_urlencoded::parse(options.as_bytes()) {
        known_option(&key, &SQLITE_OPTIONS)?;
    }
    if database == ":memory:" || database.starts_with('/') || folder.as_os_str().is_empty() {
        return Ok(url.clone());
    }
    let folder = folder
        .to_str()
        .ok_or("is relative to a folder whose name is not UTF-8: write an absolute path")?
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    let separator = if options.is_empty() { "" } else { "?" };
    Ok(Secret::new(format!("sqlite://{folder}/{database}{separator}{options}")))
}

fn accept_postgres(url: &Secret) -> Result<Secret, String> {
    let parsed = Url::parse(url.expose()).map_err(|_| EXPECTED)?;
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Err(EXPECTED.into());
    }
    for (key, value) in parsed.query_pairs() {
        // `options[name]` sets a server parameter
        if !key.starts_with("options[") {
            known_option(&key, &POSTGRES_OPTIONS)?;
        }
        if matches!(&*key, "sslmode" | "ssl-mode") && !SSL_MODES.contains(&&*value) {
            return Err(format!("its sslmode must be one of {}", SSL_MODES.join(", ")));
        }
    }
    Ok(url.clone())
}

/// The unknown key itself is not named: in a URL gone wrong it may be part of a password.
fn known_option(key: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&key) {
        return Ok(());
    }
    Err(format!("has an option after `?` that is not one of {}", known.join(", ")))
}

/// File and options of a SQLite URL, as the driver splits it.
fn sqlite(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(rest.split_once('?').unwrap_or((rest, "")))
}

struct Postgres {
    host: String,
    port: String,
    database: String,
    ssl_mode: String,
}

fn postgres(url: &str) -> Option<Postgres> {
    let url = Url::parse(url).ok()?;
    let option = |names: &[&str]| {
        url.query_pairs().filter(|(key, _)| names.contains(&&**key)).last().map(|(_, v)| v.into())
    };
    let host = option(&["host", "hostaddr"]).or_else(|| url.host_str().map(str::to_owned));
    let port = option(&["port"]).or_else(|| url.port().map(|port| port.to_string()));
    Some(Postgres {
        host: host.filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".into()),
        port: port.unwrap_or_else(|| "5432".into()),
        database: option(&["dbname"])
            .unwrap_or_else(|| url.path().trim_start_matches('/').to_owned()),
        ssl_mode: option(&["sslmode", "ssl-mode"]).unwrap_or_else(|| "prefer".into()),
    })
}

/// The database without user, password and options.
pub(super) fn shown(url: &Secret) -> String {
    if let Some((database, _)) = sqlite(url.expose()) {
        return format!("sqlite://{database}");
    }
    postgres(url.expose()).map_or_else(
        || super::REDACTED.to_owned(),
        |server| format!("postgres://{}:{}/{}", server.host, server.port, server.database),
    )
}

/// Whether rows may travel to another machine unencrypted. The driver's default, `prefer`, gives
/// in to a server (or somebody in between) that offers no TLS.
pub(super) fn may_be_in_the_clear(url: &Secret) -> bool {
    if sqlite(url.expose()).is_some() {
        return false;
    }
    postgres(url.expose()).is_some_and(|server| {
        let protected = matches!(&*server.ssl_mode, "require" | "verify-ca" | "verify-full");
        let socket = server.host.starts_with('/') || server.host.starts_with("%2F");
        !protected && !socket && !is_loopback(&server.host)
    })
}

/// Whether a password was typed into `text`, where NULs stand for what placeholders brought.
pub(super) fn has_literal_password(text: &str) -> bool {
    let typed = |password: &str| password.chars().any(|c| c != '\0');
    let Some((_, rest)) = text.split_once("://") else { return false };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let in_authority = authority
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'))
        .is_some_and(|(_, password)| typed(password));
    let in_query = query.split('&').filter_map(|o| o.strip_prefix("password=")).any(typed);
    in_authority || in_query
}

/// Whether a host is this machine, by its name or address.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(url: &str) -> Result<String, String> {
        accept(&Secret::new(url), Path::new("/etc/row?cast")).map(|url| url.expose().to_owned())
    }

    #[test]
    fn a_relative_sqlite_file_lies_beside_the_topology() {
        for (written, resolved) in [
            ("sqlite://a.db", "sqlite:///etc/row%3Fcast/a.db"),
            ("sqlite:a.db?mode=rwc", "sqlite:///etc/row%3Fcast/a.db?mode=rwc"),
            ("sqlite:///var/a.db", "sqlite:///var/a.db"),
            ("sqlite::memory:", "sqlite::memory:"),
        ] {
            assert_eq!(accepted(written).as_deref(), Ok(resolved));
        }
    }

    #[test]
    fn a_refused_url_is_not_quoted() {
        for url in [
            "canary",
            "mysql://u:canary@h/d",
            "sqlite://",
            "sqlite://a.db?canary=1",
            "postgres://h/d?pasword=canary",
            "postgres://h/d?canary=1",
            "postgres://h/d?sslmode=canary",
            "postgres://u:canary@h:port/d",
        ] {
            let message = accepted(url).expect_err(url);
            assert!(!message.contains("canary"), "{message}");
        }
    }

    #[test]
    fn a_shown_database_has_neither_user_nor_password_nor_options() {
        let shown = |url: &str| shown(&Secret::new(url));
        assert_eq!(
            shown("postgres://canary:canary@db/clinical?password=canary"),
            "postgres://db:5432/clinical"
        );
        assert_eq!(shown("sqlite://a.db?vfs=canary"), "sqlite://a.db");
        assert_eq!(shown("canary"), "***");
    }

    #[test]
    fn only_a_protected_or_local_connection_is_not_in_the_clear() {
        let clear = |url: &str| may_be_in_the_clear(&Secret::new(url));
        assert!(clear("postgres://db/x"));
        assert!(clear("postgres://localhost/x?host=db&sslmode=prefer"));
        for url in [
            "postgres://db/x?sslmode=require",
            "postgres://db/x?sslmode=verify-full",
            "postgres://127.0.0.1/x",
            "postgres://[::1]/x",
            "postgres:///x?host=/run/postgresql",
            "sqlite://a.db",
        ] {
            assert!(!clear(url), "{url}");
        }
    }

    #[test]
    fn a_password_from_a_placeholder_is_not_literal() {
        for text in ["\0", "postgres://u:\0@h/d", "postgres://u@h/d", "postgres://h/d?password=\0"]
        {
            assert!(!has_literal_password(text), "{text:?}");
        }
        for text in ["postgres://u:p@\0/d", "postgres://u:p\0@h", "postgres://h/d?password=p"] {
            assert!(has_literal_password(text), "{text:?}");
        }
    }
}
