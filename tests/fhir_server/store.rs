//! The resources of a server, every version of them, as HAPI counts and remembers them.
//!
//! In: creates, updates, deletes. Out: versions, and whether anything changed. It knows no HTTP.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::document::Document;

/// A resource's type and id.
pub(crate) type Key = (String, String);

/// How a version came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interaction {
    Create,
    Update,
    Delete,
}

/// A version of a resource.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) key: Key,
    pub(crate) number: u64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) interaction: Interaction,
    /// With `id` and `meta`; none: this version is a deletion.
    pub(crate) document: Option<Document>,
}

/// What became of a write.
#[derive(Debug, Clone)]
pub(crate) enum Written {
    /// There is a new version.
    New(Version),
    /// Everything was so already.
    NothingNew(Version),
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `If-Match` names another version than the current one.
    Conflict,
    /// There never was one.
    Unknown,
}

/// Every version of everything.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Oldest first, in the order in which they became visible.
    versions: Vec<Version>,
    latest: BTreeMap<Key, usize>,
}

impl Version {
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.key.0, self.key.1)
    }

    pub(crate) fn is_deletion(&self) -> bool {
        self.document.is_none()
    }
}

impl Written {
    pub(crate) fn version(&self) -> &Version {
        match self {
            Self::New(version) | Self::NothingNew(version) => version,
        }
    }
}

/// As HAPI writes it.
pub(crate) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, false)
}

impl Store {
    /// HAPI takes ids from the sequence that numbers all resources.
    pub(crate) fn next_id(&self) -> String {
        (1000 + self.latest.len()).to_string()
    }

    pub(crate) fn latest(&self, key: &Key) -> Option<&Version> {
        self.versions.get(*self.latest.get(key)?)
    }

    /// The newest version of each resource, deletions included.
    pub(crate) fn current(&self) -> impl Iterator<Item = &Version> {
        self.latest.values().filter_map(|at| self.versions.get(*at))
    }

    pub(crate) fn version(&self, key: &Key, number: u64) -> Option<&Version> {
        self.versions.iter().find(|version| version.key == *key && version.number == number)
    }

    /// Creates or updates. The same content again is nothing new; after a deletion numbers go on.
    pub(crate) fn put(
        &mut self,
        key: &Key,
        document: &Document,
        if_match: Option<u64>,
        backdated: TimeDelta,
    ) -> Result<Written, Refused> {
        let before = self.latest(key).cloned();
        let current = before.as_ref().map(|version| version.number);
        if if_match.is_some() && if_match != current {
            return Err(Refused::Conflict);
        }
        if let Some(before) = before.filter(|before| {
            before.document.as_ref().is_some_and(|known| known.says_the_same(document))
        }) {
            return Ok(Written::NothingNew(before));
        }
        let interaction = if current.is_none() { Interaction::Create } else { Interaction::Update };
        Ok(Written::New(self.append(key, Some(document), interaction, backdated)))
    }

    /// Deletes, once.
    pub(crate) fn delete(
        &mut self,
        key: &Key,
        if_match: Option<u64>,
        backdated: TimeDelta,
    ) -> Result<Written, Refused> {
        let before = self.latest(key).cloned().ok_or(Refused::Unknown)?;
        if if_match.is_some_and(|wanted| wanted != before.number) {
            return Err(Refused::Conflict);
        }
        if before.is_deletion() {
            return Ok(Written::NothingNew(before));
        }
        Ok(Written::New(self.append(key, None, Interaction::Delete, backdated)))
    }

    /// Versions at or after an instant, newest first; of a type, of a resource, or of all.
    pub(crate) fn history(
        &self,
        of_type: Option<&str>,
        of_id: Option<&str>,
        since: Option<DateTime<Utc>>,
    ) -> Vec<Version> {
        let wanted = |version: &&Version| {
            of_type.is_none_or(|wanted| wanted == version.key.0)
                && of_id.is_none_or(|wanted| wanted == version.key.1)
                && since.is_none_or(|since| version.at >= since)
        };
        let mut found: Vec<_> = self.versions.iter().rev().filter(wanted).cloned().collect();
        // stable: of one instant, what became visible last stands first
        found.sort_by_key(|version| std::cmp::Reverse(version.at));
        found
    }

    /// What is there of a type, in the order of the last change.
    pub(crate) fn of_type(&self, of_type: &str) -> Vec<Version> {
        let here = |version: &&Version| version.key.0 == of_type && !version.is_deletion();
        let mut found: Vec<_> = self.current().filter(here).cloned().collect();
        found.sort_by_key(|version| version.at);
        found
    }

    /// Puts all instants back.
    pub(super) fn age(&mut self, by: TimeDelta) {
        for version in &mut self.versions {
            version.at -= by;
            let Version { key, number, at, document, .. } = version;
            let aged = document.as_ref().map(|it| it.stamped(&key.1, *number, &instant(*at)));
            *document = aged;
        }
    }

    fn append(
        &mut self,
        key: &Key,
        document: Option<&Document>,
        interaction: Interaction,
        backdated: TimeDelta,
    ) -> Version {
        let number = self.latest(key).map_or(1, |version| version.number + 1);
        let at = Utc::now() - backdated;
        let document = document.map(|document| document.stamped(&key.1, number, &instant(at)));
        let version = Version { key: key.clone(), number, at: parsed(at), interaction, document };
        self.latest.insert(key.clone(), self.versions.len());
        self.versions.push(version.clone());
        version
    }
}

/// To the millisecond, as it is told.
fn parsed(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)
}
