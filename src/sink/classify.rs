//! What a database's error means, by its code alone.
//!
//! In: an error of the driver. Out: a [`SinkError`] that carries the code and names of tables,
//! columns and constraints. Messages and DETAIL stay behind: they quote row values.

use std::borrow::Cow;
use std::sync::Arc;

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

use super::SinkError;
use crate::error::{Cause, Place, Refusal, Stage};
use crate::plan::Statement;

/// What to do about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Wait and try again.
    Retry,
    /// Try again, with less at once if that goes on.
    Slow,
    /// Isolate the change.
    Refuse(Cause),
    /// Pause; the text says what to do.
    Pause(&'static str),
}

/// PostgreSQL: SQLSTATE.
pub(super) fn postgres(sqlstate: &str) -> Verdict {
    match sqlstate {
        // 25P03: the server ended a session that stood still within a transaction
        "25P03" | "55P03" => return Verdict::Retry,
        // a statement or a transaction took longer than the server lets it
        "25P04" | "57014" => return Verdict::Slow,
        // of class 53, but nobody but a person makes room
        "53100" => return Verdict::Pause("the disk is full: make room"),
        "53400" => return Verdict::Pause("a configured limit of the server is exceeded"),
        "22001" => return Verdict::Refuse(Cause::ValueTooLong),
        "23502" => return Verdict::Refuse(Cause::ConstraintNotNull),
        "23503" => return Verdict::Refuse(Cause::ConstraintForeignKey),
        // 21000: two ids of the batch are one to the column's type or collation
        "21000" | "23505" => return Verdict::Refuse(Cause::ConstraintUnique),
        "23514" | "44000" => return Verdict::Refuse(Cause::ConstraintCheck),
        // raised by a trigger of the user's
        "P0001" => return Verdict::Refuse(Cause::IntegrityViolation),
        "25006" => return Verdict::Pause("the database is read-only: point to the primary"),
        "42501" => return Verdict::Pause("the user lacks a privilege: grant it"),
        "42P01" => return Verdict::Pause("a table is missing: see `rowcast schema`"),
        "42703" => return Verdict::Pause("a column is missing: see `rowcast schema`"),
        _ => {}
    }
    if sqlstate.starts_with("57P") {
        return Verdict::Retry;
    }
    match sqlstate.get(..2) {
        Some("08" | "40" | "53" | "58") => Verdict::Retry,
        // 54: a row, an index entry or a document larger than the server can take
        Some("22" | "54") => Verdict::Refuse(Cause::DataException),
        Some("23") => Verdict::Refuse(Cause::IntegrityViolation),
        Some("28") => {
            Verdict::Pause("the server does not let this user in: check user and password")
        }
        Some("3D") => Verdict::Pause("there is no such database"),
        Some("42") => Verdict::Pause("the schema does not fit the rules: see `rowcast check`"),
        _ => Verdict::Pause("unexpected: see the database's log"),
    }
}

/// SQLite: extended result code.
pub(super) const fn sqlite(code: i32) -> Verdict {
    match code {
        275 => return Verdict::Refuse(Cause::ConstraintCheck),
        787 => return Verdict::Refuse(Cause::ConstraintForeignKey),
        1299 => return Verdict::Refuse(Cause::ConstraintNotNull),
        1555 | 2067 | 2579 => return Verdict::Refuse(Cause::ConstraintUnique),
        3091 => return Verdict::Refuse(Cause::DataException),
        _ => {}
    }
    match code & 0xff {
        // busy, locked, interrupted, the locking protocol of several processes, schema changed
        5 | 6 | 9 | 15 | 17 => Verdict::Retry,
        18 | 20 => Verdict::Refuse(Cause::DataException),
        19 => Verdict::Refuse(Cause::IntegrityViolation),
        1 => Verdict::Pause("the schema does not fit the rules: see `rowcast check`"),
        3 | 14 => Verdict::Pause("the file cannot be opened: check path and permissions"),
        8 => Verdict::Pause("the file is read-only: check its permissions"),
        10 => Verdict::Pause("reading or writing the file failed: check the disk"),
        11 | 26 => Verdict::Pause("the file is damaged, or no SQLite database"),
        13 => Verdict::Pause("the disk is full: make room"),
        _ => Verdict::Pause("unexpected result code"),
    }
}

/// What heals by itself: changed since read, connections, shutdown, network, lock wait, deadlock,
/// limits of a user, interrupted, prepared anew, no lock at once, killed; and the client's own numbers.
const MYSQL_RETRIABLE: [u16; 34] = [
    1020, 1040, 1042, 1043, 1053, 1077, 1078, 1079, 1080, 1152, 1156, 1157, 1158, 1159, 1160, 1161,
    1180, 1184, 1203, 1205, 1206, 1213, 1226, 1317, 1614, 1615, 1927, 2002, 2003, 2006, 2013, 3169,
    3572, 4031,
];

/// What is wrong with one row's values: out of range, of another kind, no text of its character set,
/// larger than a row or a packet may be, no JSON.
const MYSQL_UNFIT: [u16; 17] = [
    1118, 1153, 1162, 1264, 1265, 1292, 1300, 1301, 1366, 1367, 1411, 1416, 1690, 3140, 3141, 3156,
    3158,
];

/// MySQL and MariaDB: error number.
pub(super) fn mysql(number: u16) -> Verdict {
    match number {
        _ if MYSQL_RETRIABLE.contains(&number) => Verdict::Retry,
        1969 | 3024 => Verdict::Slow,
        _ if MYSQL_UNFIT.contains(&number) => Verdict::Refuse(Cause::DataException),
        1406 => Verdict::Refuse(Cause::ValueTooLong),
        1048 => Verdict::Refuse(Cause::ConstraintNotNull),
        1216 | 1217 | 1451 | 1452 | 1761 | 1762 => Verdict::Refuse(Cause::ConstraintForeignKey),
        // 1365: how our upsert refuses to change another resource's row
        1062 | 1169 | 1365 | 1586 => Verdict::Refuse(Cause::ConstraintUnique),
        3819 | 4025 => Verdict::Refuse(Cause::ConstraintCheck),
        // raised by a trigger of the user's
        1644 => Verdict::Refuse(Cause::IntegrityViolation),
        1021 | 1114 => Verdict::Pause("the disk or a tablespace is full: make room"),
        1290 | 1792 | 1836 => Verdict::Pause("the database is read-only: point to the primary"),
        1044 | 1142 | 1143 | 1227 | 1370 => Verdict::Pause("the user lacks a privilege: grant it"),
        1045 | 1698 | 1862 => {
            Verdict::Pause("the server does not let this user in: check user and password")
        }
        1129 | 1130 => Verdict::Pause("the server does not let this host in: see its log"),
        1049 => Verdict::Pause("there is no such database"),
        1046 => Verdict::Pause("the database URL names no database"),
        1146 => Verdict::Pause("a table is missing: see `rowcast schema`"),
        1054 => Verdict::Pause("a column is missing: see `rowcast schema`"),
        1136 | 1176 | 1267 | 1364 => {
            Verdict::Pause("the schema does not fit the rules: see `rowcast check`")
        }
        1461 => Verdict::Pause(
            "the server holds too many prepared statements: raise max_prepared_stmt_count, or lower sink.connections",
        ),
        1665 => Verdict::Pause("the server logs statements: set binlog_format to ROW or MIXED"),
        _ => Verdict::Pause("unexpected: see the database's log"),
    }
}

/// What was being done when the error came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// In words.
    pub(super) what: &'static str,
    /// The statement, if it was one.
    pub(super) statement: Option<&'a Statement>,
}

impl<'a> Attempt<'a> {
    pub(super) const fn to(what: &'static str) -> Self {
        Self { what, statement: None }
    }

    pub(super) const fn run(statement: &'a Statement) -> Self {
        Self { what: statement.attempted, statement: Some(statement) }
    }

    /// The driver's error in our terms. `judge` reads a code.
    pub(super) fn failed(self, error: sqlx::Error, judge: impl Fn(&str) -> Verdict) -> SinkError {
        use sqlx::Error;
        let attempted = self.what;
        let unavailable = |reason: String| SinkError::Unavailable { attempted, reason };
        let fatal = |reason: &str| SinkError::Fatal { attempted, reason: reason.to_owned() };
        match error {
            Error::Database(error) => self.refused_by_database(&*error, judge),
            Error::Io(error) => unavailable(error.kind().to_string()),
            Error::PoolTimedOut => unavailable("no connection in time".to_owned()),
            Error::PoolClosed => unavailable("the connections are closed".to_owned()),
            Error::WorkerCrashed | Error::BeginFailed => unavailable("connection lost".to_owned()),
            Error::Tls(_) => fatal("the TLS connection failed: check certificate and `sslmode`"),
            Error::Configuration(_) => fatal("the database URL is not valid"),
            Error::Protocol(_) => fatal("the server answered in an unknown way"),
            Error::Encode(_) => {
                let table = self.statement.and_then(|statement| statement.table.clone());
                refused(Cause::DataException, None, table, None)
            }
            _ => fatal("the driver failed in an unexpected way"),
        }
    }

    fn refused_by_database(
        self,
        error: &dyn DatabaseError,
        judge: impl Fn(&str) -> Verdict,
    ) -> SinkError {
        let attempted = self.what;
        let code = code(error);
        match judge(&code) {
            Verdict::Retry => {
                SinkError::Unavailable { attempted, reason: format!("database code {code}") }
            }
            Verdict::Slow => {
                SinkError::TooSlow { attempted, reason: format!("database code {code}") }
            }
            Verdict::Refuse(cause) => {
                let constraint = error.constraint();
                let (table, column) = (self.table(error), self.column(cause, error));
                refused(cause, Some((&code, constraint)), table, column)
            }
            Verdict::Pause(advice) => {
                SinkError::Fatal { attempted, reason: format!("{advice} (database code {code})") }
            }
        }
    }

    /// The table of the statement; of a constraint that is checked at commit, the one that
    /// PostgreSQL names.
    fn table(self, error: &dyn DatabaseError) -> Option<Arc<str>> {
        let of_statement = self.statement.and_then(|statement| statement.table.clone());
        of_statement.or_else(|| error.table().map(Into::into))
    }

    /// The column that got no value, or one that does not fit. PostgreSQL says it in a field of its
    /// own; the others only in their message, so it is taken from there only if it is one of the
    /// statement's, and where the message quotes no value.
    fn column(self, cause: Cause, error: &dyn DatabaseError) -> Option<Arc<str>> {
        if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
            return error.column().map(Into::into);
        }
        let message = error.message();
        let mut names = self.statement?.columns.iter().filter_map(|column| column.name.as_ref());
        let found = if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
            matches!(error.number(), 1048 | 1264 | 1406)
                .then(|| names.find(|name| message.contains(&format!("olumn '{name}'"))))?
        } else {
            (cause == Cause::ConstraintNotNull)
                .then(|| names.find(|name| message.ends_with(&format!(".{name}"))))?
        };
        found.cloned()
    }
}

/// A refusal by the database, by its code and the constraint's name.
pub(super) fn refused(
    cause: Cause,
    code: Option<(&str, Option<&str>)>,
    table: Option<Arc<str>>,
    column: Option<Arc<str>>,
) -> SinkError {
    let error = match code {
        Some((code, Some(constraint))) => {
            DatabaseRefusal::Constraint { code: code.to_owned(), constraint: constraint.to_owned() }
        }
        Some((code, None)) => DatabaseRefusal::Code { code: code.to_owned() },
        None => DatabaseRefusal::NotEncodable,
    };
    let place =
        Place { table, column, sqlstate: code.map(|(code, _)| code.into()), ..Place::default() };
    SinkError::Refused(Box::new(Refusal::new(Stage::Sink, cause, &error, "DatabaseRefusal", place)))
}

/// The code that decides: MySQL's SQLSTATEs say too little, its numbers enough.
fn code(error: &dyn DatabaseError) -> Cow<'_, str> {
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => error.number().to_string().into(),
        None => error.code().unwrap_or(Cow::Borrowed("unknown")),
    }
}

/// What the database said no to, without what it said it about.
#[derive(Debug, thiserror::Error)]
enum DatabaseRefusal {
    #[error("the database refused the rows with code {code}")]
    Code { code: String },
    #[error("the database refused the rows with code {code}, constraint {constraint}")]
    Constraint { code: String, constraint: String },
    #[error("a value cannot be encoded for the database")]
    NotEncodable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_heals_by_itself_is_never_a_dead_letter() {
        for code in
            ["08006", "25P03", "40001", "40003", "40P01", "53300", "55P03", "57P01", "58030"]
        {
            assert_eq!(postgres(code), Verdict::Retry, "{code}");
        }
        for code in [1020, 1040, 1053, 1205, 1213, 1927, 2006, 2013] {
            assert_eq!(mysql(code), Verdict::Retry, "{code}");
        }
        for code in [5, 6, 15, 17, 261, 517] {
            assert_eq!(sqlite(code), Verdict::Retry, "{code}");
        }
    }

    #[test]
    fn what_took_too_long_is_tried_again_with_less() {
        assert!(["25P04", "57014"].iter().all(|code| postgres(code) == Verdict::Slow));
        assert!([1969, 3024].iter().all(|code| mysql(*code) == Verdict::Slow));
    }

    #[test]
    fn what_is_wrong_with_one_row_has_its_cause() {
        for (code, cause) in [
            ("22001", Cause::ValueTooLong),
            ("22003", Cause::DataException),
            ("23502", Cause::ConstraintNotNull),
            ("23503", Cause::ConstraintForeignKey),
            ("23505", Cause::ConstraintUnique),
            ("23514", Cause::ConstraintCheck),
            ("23P01", Cause::IntegrityViolation),
        ] {
            assert_eq!(postgres(code), Verdict::Refuse(cause), "{code}");
        }
        for (code, cause) in [
            (1406, Cause::ValueTooLong),
            (1264, Cause::DataException),
            (1366, Cause::DataException),
            (1048, Cause::ConstraintNotNull),
            (1452, Cause::ConstraintForeignKey),
            (1062, Cause::ConstraintUnique),
            (3819, Cause::ConstraintCheck),
            (4025, Cause::ConstraintCheck),
            (1644, Cause::IntegrityViolation),
        ] {
            assert_eq!(mysql(code), Verdict::Refuse(cause), "{code}");
        }
        assert_eq!(sqlite(1299), Verdict::Refuse(Cause::ConstraintNotNull));
        assert_eq!(sqlite(19), Verdict::Refuse(Cause::IntegrityViolation));
    }

    #[test]
    fn what_concerns_every_row_and_what_nobody_knows_is_fatal() {
        for code in ["42P01", "42703", "28P01", "25006", "53100", "53400", "XX000", "", "ü"] {
            assert!(matches!(postgres(code), Verdict::Pause(_)), "{code}");
        }
        for code in [1045, 1054, 1146, 1290, 1142, 1114, 1364, 1665, 0, 9999] {
            assert!(matches!(mysql(code), Verdict::Pause(_)), "{code}");
        }
        for code in [1, 8, 13, 99] {
            assert!(matches!(sqlite(code), Verdict::Pause(_)), "{code}");
        }
    }
}
