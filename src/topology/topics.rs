//! Which topics are read, and how their records are.
//!
//! In: `source.topic` or `source.topics` with what stands beside them. Out: the topics in the
//! order written, each with its format and version source. It does not know which topics exist.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::file::{DebeziumFile, TopologyFile};
use super::resolve::Findings;
use super::{SourceTopic, pointcut};
use crate::model::TopicSelector;
use crate::source::{DebeziumColumns, Format, TypeFrom};

pub(super) const NO_TOPIC: &str =
    "is no topic name: 1 to 249 letters, digits, `.`, `_` or `-`, but not `.` or `..`";

/// The topics; `None` if something is wrong with them.
pub(super) fn resolve(
    written: &TopologyFile,
    found: &mut Findings<'_>,
) -> Option<Vec<SourceTopic>> {
    let source = &written.source;
    let version_from = written.transform.version.from;
    let common_avro = source.avro.as_ref();
    let common_avro =
        common_avro.and_then(|written| super::avro::fields(written, "/source/avro", found));
    let common = source.debezium.as_ref().map(columns);
    let default = source.pointcut.is_some() && source.kafka.is_none() && source.topics.is_empty();
    let topic = source.topic.as_deref().or(default.then_some(pointcut::DEFAULT_TOPIC));
    match (topic, source.topics.is_empty()) {
        (Some(_), false) => {
            found.problem("/source", "has both `topic` and `topics`: keep one of them");
            return None;
        }
        (None, true) => {
            found.problem("/source/topic", "is required, unless `source.topics` names several");
            return None;
        }
        (Some(topic), true) => {
            check_debezium(source.format, common.is_some(), "/source", found);
            let selector = selector(topic, "/source/topic", found)?;
            let format = source.format;
            let (debezium, avro) = (common, common_avro);
            return Some(vec![SourceTopic { selector, format, version_from, debezium, avro }]);
        }
        (None, false) => {}
    }
    let mut topics = Vec::new();
    let mut known = BTreeSet::new();
    for (index, written) in source.topics.iter().enumerate() {
        let path = format!("/source/topics/{index}");
        let place = format!("{path}/topic");
        if !known.insert(written.topic.as_str()) {
            found.problem(&place, "is named twice");
        }
        let format = written.format.unwrap_or(source.format);
        let debezium = written.debezium.as_ref().map(columns);
        check_debezium(format, debezium.is_some() || common.is_some(), &path, found);
        if debezium.is_some() && !reads_debezium(format) {
            found.problem(&format!("{path}/debezium"), UNUSED);
        }
        let avro = match &written.avro {
            Some(written) => super::avro::fields_of_topic(written, &format!("{path}/avro"), found),
            None => common_avro.clone(),
        };
        if let Some(selector) = selector(&written.topic, &place, found) {
            topics.push(SourceTopic {
                selector,
                format,
                version_from: written.version_from.unwrap_or(version_from),
                debezium: debezium.or_else(|| common.clone()),
                avro,
            });
        }
    }
    (topics.len() == source.topics.len()).then_some(topics)
}

fn selector(topic: &str, path: &str, found: &mut Findings<'_>) -> Option<TopicSelector> {
    let Some(selector) = TopicSelector::parse(topic) else {
        found.problem(path, "begins with `^` but is no regular expression");
        return None;
    };
    if selector.name().is_some_and(|name| !is_topic(name)) {
        found.problem(path, NO_TOPIC);
        return None;
    }
    Some(selector)
}

const UNUSED: &str = "has no effect: the format is none of `debezium`, `auto` and `avro`";

const fn reads_debezium(format: Format) -> bool {
    matches!(format, Format::Auto | Format::Debezium | Format::Avro)
}

/// The format needs to know the columns. `path`: of what holds both.
fn check_debezium(format: Format, has_columns: bool, path: &str, found: &mut Findings<'_>) {
    if format == Format::Debezium && !has_columns {
        let message = "is required by the format `debezium`: say which column holds the document";
        found.problem(&format!("{path}/debezium"), message);
    }
    if path == "/source" && has_columns && !reads_debezium(format) {
        found.problem("/source/debezium", UNUSED);
    }
}

fn columns(written: &DebeziumFile) -> Arc<DebeziumColumns> {
    Arc::new(DebeziumColumns {
        document: written.document.clone(),
        resource_type: written.resource_type.as_deref().map(TypeFrom::parse),
        id: written.id.clone(),
        version: written.version.clone(),
    })
}

/// Kafka's own rule.
pub(super) fn is_topic(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name != "." && name != ".." && name.chars().all(legal)
}
