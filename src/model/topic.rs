//! Which topics are meant: one by name, or those that a pattern fits.

use std::fmt;
use std::sync::Arc;

use regex::Regex;

/// A topic's name, or a regular expression that begins with `^`.
#[derive(Debug, Clone)]
pub enum TopicSelector {
    /// The topic of this name.
    Named(Arc<str>),
    /// The topics that this fits.
    Matching(Regex),
}

impl TopicSelector {
    /// Reads either. `None` if it begins with `^` and is no regular expression.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('^') {
            Regex::new(text).ok().map(Self::Matching)
        } else {
            Some(Self::Named(text.into()))
        }
    }

    /// Whether a topic is meant.
    #[must_use]
    pub fn selects(&self, topic: &str) -> bool {
        match self {
            Self::Named(name) => **name == *topic,
            Self::Matching(pattern) => pattern.is_match(topic),
        }
    }

    /// The name, unless it is a pattern.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            Self::Matching(_) => None,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Matching(pattern) => pattern.as_str(),
        }
    }
}

impl fmt::Display for TopicSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
