//! A resource's text: its members as they were sent, numbers with their digits.

use std::fmt::Write as _;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object, in order, without white space between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document(Vec<(String, String)>);

impl Document {
    /// `None` if it is no JSON object.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Members(members) = serde_json::from_str(text).ok()?;
        Some(Self(members.into_iter().map(|(name, value)| (name, compact(value.get()))).collect()))
    }

    /// The text of a member.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A member; `Value::Null` if it is not there.
    pub(crate) fn member(&self, name: &str) -> Value {
        self.raw(name).and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default()
    }

    /// A member that is a string.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.member(name).as_str().map(str::to_owned)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The same with `id` and `meta` where HAPI writes them, and what `meta` had besides.
    pub(super) fn stamped(&self, id: &str, version: u64, at: &str) -> Self {
        let mut meta = vec![
            ("versionId".to_owned(), format!("\"{version}\"")),
            ("lastUpdated".to_owned(), format!("\"{at}\"")),
        ];
        meta.extend(self.meta_as_given());
        let mut members = vec![
            ("resourceType".to_owned(), self.raw("resourceType").unwrap_or("null").to_owned()),
            ("id".to_owned(), Value::from(id).to_string()),
            ("meta".to_owned(), Self(meta).to_string()),
        ];
        let own = |name: &str| matches!(name, "resourceType" | "id" | "meta");
        members.extend(self.0.iter().filter(|(name, _)| !own(name)).cloned());
        Self(members)
    }

    /// Replaces a member, or adds it at the end.
    pub(super) fn set(&mut self, name: &str, raw: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => raw.clone_into(value),
            None => self.0.push((name.to_owned(), raw.to_owned())),
        }
    }

    /// Whether nothing differs but what the server writes by itself.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let own = |name: &str| matches!(name, "id" | "meta");
        let content = |document: &Self| {
            document.0.iter().filter(|(name, _)| !own(name)).cloned().collect::<Vec<_>>()
        };
        content(self) == content(other) && self.meta_as_given() == other.meta_as_given()
    }

    fn meta_as_given(&self) -> Vec<(String, String)> {
        let meta = self.raw("meta").and_then(Self::parse).map(|meta| meta.0).unwrap_or_default();
        let own = |name: &str| matches!(name, "versionId" | "lastUpdated");
        meta.into_iter().filter(|(name, _)| !own(name)).collect()
    }
}

impl std::fmt::Display for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('{')?;
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}:{value}", Value::from(name.as_str()))?;
        }
        f.write_char('}')
    }
}

/// JSON text without white space outside of strings.
pub(crate) fn compact(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keeps = |c: char| {
        let kept = inside || !c.is_ascii_whitespace();
        inside ^= c == '"' && !escaped;
        escaped = inside && c == '\\' && !escaped;
        kept
    };
    let mut keeps = keeps;
    text.chars().filter(|c| keeps(*c)).collect()
}

struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
