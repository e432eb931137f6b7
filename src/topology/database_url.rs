//! The database URL: what is accepted, and what of it may be shown.
//!
//! Checked here rather than by the driver, because the driver's messages quote what they refuse,
//! and it logs options it does not know together with their values.

use std::path::Path;

use url::Url;

use super::secret::Secret;

/// What the SQLite driver takes in the query of a URL.
const SQLITE_OPTIONS: [&str; 4] = ["cache", "immutable", "mode", "vfs"];

/// What a URL of a database server may say.
struct Dialect {
    schemes: [&'static str; 2],
    /// Whether the URL must name a database: there is none that a user has by default.
    needs_database: bool,
    port: &'static str,
    /// What the driver takes in the query, but for what rowcast sets itself.
    options: &'static [&'static str],
    /// How a connection may be protected, from the weakest to the strongest.
    ssl_modes: &'static [&'static str],
    /// How many of them do not insist on it.
    giving_in: usize,
    /// The options that name another host than the URL does, or the folder or file of a socket.
    hosts: &'static [&'static str],
}

const POSTGRES: Dialect = Dialect {
    schemes: ["postgres", "postgresql"],
    needs_database: false,
    port: "5432",
    options: &[
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
    ],
    ssl_modes: &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    giving_in: 3,
    hosts: &["host", "hostaddr"],
};

const MYSQL: Dialect = Dialect {
    schemes: ["mysql", "mariadb"],
    needs_database: true,
    port: "3306",
    options: &[
        "socket", "ssl-ca", "ssl-cert", "ssl-key", "ssl-mode", "sslca", "sslcert", "sslkey",
        "sslmode",
    ],
    ssl_modes: &["disabled", "preferred", "required", "verify_ca", "verify_identity"],
    giving_in: 2,
    hosts: &["socket"],
};

const EXPECTED: &str = "must be a database URL: postgres://user@host:5432/database, \
                        mysql://user@host:3306/database or sqlite://file.db";

/// Accepts a URL; a relative SQLite file becomes relative to `folder`.
pub(super) fn accept(url: &Secret, folder: &Path) -> Result<Secret, String> {
    match sqlite(url.expose()) {
        Some((database, options)) => accept_sqlite(url, folder, database, options),
        None => accept_server(url),
    }
}

/// Whether an accepted URL names a file, not a server.
pub(super) fn is_file(url: &Secret) -> bool {
    sqlite(url.expose()).is_some()
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

fn accept_server(url: &Secret) -> Result<Secret, String> {
    let (dialect, parsed) = server_url(url.expose()).ok_or(EXPECTED)?;
    for (key, value) in parsed.query_pairs() {
        // `options[name]` sets a parameter of PostgreSQL
        if !(key.starts_with("options[") && dialect.options.contains(&"options")) {
            known_option(&key, dialect.options)?;
        }
        if matches!(&*key, "sslmode" | "ssl-mode") && !dialect.ssl_modes.contains(&&*value) {
            return Err(format!("its sslmode must be one of {}", dialect.ssl_modes.join(", ")));
        }
    }
    if dialect.needs_database && parsed.path().trim_matches('/').is_empty() {
        return Err("names no database: mysql://user@host:3306/database".into());
    }
    Ok(url.clone())
}

/// The URL of a server, and what it may say.
fn server_url(url: &str) -> Option<(&'static Dialect, Url)> {
    let url = Url::parse(url).ok()?;
    let dialect =
        [&POSTGRES, &MYSQL].into_iter().find(|dialect| dialect.schemes.contains(&url.scheme()))?;
    Some((dialect, url))
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

struct Server {
    dialect: &'static Dialect,
    host: String,
    port: String,
    database: String,
    ssl_mode: Option<String>,
}

fn server(url: &str) -> Option<Server> {
    let (dialect, url) = server_url(url)?;
    let option = |names: &[&str]| -> Option<String> {
        url.query_pairs().filter(|(key, _)| names.contains(&&**key)).last().map(|(_, v)| v.into())
    };
    let host = option(dialect.hosts).or_else(|| url.host_str().map(str::to_owned));
    let port = option(&["port"]).or_else(|| url.port().map(|port| port.to_string()));
    Some(Server {
        dialect,
        host: host.filter(|host| !host.is_empty()).unwrap_or_else(|| "localhost".into()),
        port: port.unwrap_or_else(|| dialect.port.into()),
        database: option(&["dbname"])
            .unwrap_or_else(|| url.path().trim_start_matches('/').to_owned()),
        ssl_mode: option(&["sslmode", "ssl-mode"]),
    })
}

/// The database without user, password and options.
pub(super) fn shown(url: &Secret) -> String {
    if let Some((database, _)) = sqlite(url.expose()) {
        return format!("sqlite://{database}");
    }
    server(url.expose()).map_or_else(
        || super::REDACTED.to_owned(),
        |Server { dialect, host, port, database, .. }| {
            let [scheme, _] = dialect.schemes;
            format!("{scheme}://{host}:{port}/{database}")
        },
    )
}

/// Whether rows may travel to another machine unencrypted. What the drivers do by themselves, and
/// what only prefers encryption, gives in to a server (or somebody in between) that offers no TLS.
pub(super) fn may_be_in_the_clear(url: &Secret) -> bool {
    if sqlite(url.expose()).is_some() {
        return false;
    }
    server(url.expose()).is_some_and(|Server { dialect, host, ssl_mode, .. }| {
        let insisting = dialect.ssl_modes.get(dialect.giving_in..).unwrap_or_default();
        let protected = ssl_mode.is_some_and(|mode| insisting.contains(&&*mode));
        let socket = host.starts_with('/') || host.starts_with("%2F");
        !protected && !socket && !is_loopback(&host)
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
            "oracle://u:canary@h/d",
            "mysql://u:canary@h",
            "mysql://h/d?canary=1",
            "mariadb://h/d?sslmode=canary",
            "mysql://h/d?charset=canary",
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
        assert_eq!(shown("mariadb://canary:canary@db/clinical"), "mysql://db:3306/clinical");
        assert_eq!(shown("sqlite://a.db?vfs=canary"), "sqlite://a.db");
        assert_eq!(shown("canary"), "***");
    }

    #[test]
    fn only_a_protected_or_local_connection_is_not_in_the_clear() {
        let clear = |url: &str| may_be_in_the_clear(&Secret::new(url));
        assert!(clear("postgres://db/x"));
        assert!(clear("postgres://localhost/x?host=db&sslmode=prefer"));
        assert!(clear("mysql://db/x"));
        assert!(clear("mysql://db/x?ssl-mode=preferred"));
        for url in [
            "mysql://db/x?ssl-mode=required",
            "mariadb://db/x?sslmode=verify_identity",
            "mysql://localhost/x?socket=/run/mysqld/mysqld.sock",
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
