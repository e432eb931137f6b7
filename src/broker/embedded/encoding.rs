//! Headers as one column: for each header its name and value, each after its length.

use bytes::{Buf, BufMut, Bytes};

use crate::model::Header;

/// The length that stands for a null value.
const NULL: u32 = u32::MAX;

/// The headers as bytes; nothing for none.
pub(super) fn encode(headers: &[Header]) -> Option<Vec<u8>> {
    if headers.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    for header in headers {
        put(&mut out, Some(header.name.as_bytes()));
        put(&mut out, header.value.as_deref());
    }
    Some(out)
}

/// The headers that [`encode`] wrote. `None` if the bytes are not its work.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<Header>> {
    let mut headers = Vec::new();
    while bytes.has_remaining() {
        let Field::Bytes(name) = take(&mut bytes)? else { return None };
        let name = std::str::from_utf8(name).ok()?.to_owned();
        let value = match take(&mut bytes)? {
            Field::Bytes(value) => Some(Bytes::copy_from_slice(value)),
            Field::Null => None,
        };
        headers.push(Header { name, value });
    }
    Some(headers)
}

fn put(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    // a record's size is bounded far below this
    let length = bytes.map_or(NULL, |bytes| u32::try_from(bytes.len()).unwrap_or(NULL));
    out.put_u32(length);
    out.put_slice(bytes.unwrap_or_default());
}

enum Field<'a> {
    Bytes(&'a [u8]),
    Null,
}

/// The next length and its bytes. `None` if they are cut short.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let length = bytes.try_get_u32().ok()?;
    if length == NULL {
        return Some(Field::Null);
    }
    let (value, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Field::Bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let headers = vec![
            Header::text("a", "1"),
            Header::text("a", "2"),
            Header { name: "null".into(), value: None },
            Header::text("", ""),
        ];
        assert_eq!(decode(&encode(&headers).unwrap()).unwrap(), headers);
        assert_eq!(encode(&[]), None);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = encode(&[Header::text("name", "value")]).unwrap();
        for end in 1..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None, "cut at {end}");
        }
        assert_eq!(decode(&[0xff; 9]), None);
    }
}
