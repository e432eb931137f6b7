//! A request, small enough to be read: what a test asks `/metrics`, `/log`, `/livez` and `/readyz`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Body as text.
    pub(crate) body: String,
}

/// Asks once; `None` if nobody answers, or not HTTP, within two seconds.
pub(crate) fn get(port: u16, path: &str) -> Option<Answer> {
    request(port, "GET", path, None, "")
}

/// The same at any address.
pub(crate) fn get_at(address: SocketAddr, path: &str) -> Option<Answer> {
    request_at(address, "GET", path, "", "")
}

/// The same with any method, a bearer token and a body.
pub(crate) fn request(
    port: u16,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Option<Answer> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    request_with(port, method, path, &token.unwrap_or_default(), body)
}

/// The same with any headers, each with its end of line.
pub(crate) fn request_with(
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<Answer> {
    request_at(SocketAddr::from(([127, 0, 0, 1], port)), method, path, headers, body)
}

/// The same at any address.
pub(crate) fn request_at(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<Answer> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.set_write_timeout(Some(patience)).ok()?;
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len(),
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// Asks until the answer has this status; panics with the last answer after `within`.
pub(crate) fn wait_for_status(port: u16, path: &str, status: u16, within: Duration) -> Answer {
    super::wait_for(&format!("GET {path} with status {status}"), within, || {
        get(port, path).filter(|answer| answer.status == status)
    })
}
