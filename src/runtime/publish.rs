//! What was refused, published until all replicas have it.
//!
//! In: letters. Out: nothing before the broker has acknowledged every one of them, however long that
//! takes; whoever calls commits only afterwards. `/readyz` and metrics say that it waits.

use std::collections::BTreeMap;

use super::retry::RetryStage;
use super::{Stages, broker_cause, trail};
use crate::broker::BrokerError;
use crate::dead_letter::{DeadLetter, Places, Retry};
use crate::error::{Cause, Refusal, Stage};
use crate::model::{Offset, Record, TopicPartition, resource_type_label};
use crate::retry::Backoff;
use crate::telemetry::health::Check;
use crate::telemetry::metrics::Component;
use crate::telemetry::troubleshooting;

/// Publishes for one partition.
#[derive(Clone, Copy)]
pub(super) struct Publishing<'a> {
    pub(super) stages: &'a Stages,
    pub(super) partition: &'a TopicPartition,
    /// The partition's name, as health knows it.
    pub(super) scope: &'a str,
}

impl Publishing<'_> {
    /// Publishes dead letters until all replicas have them.
    pub(super) async fn dead_letters(self, letters: &[DeadLetter]) {
        if letters.is_empty() {
            return;
        }
        let Stages { dead_letters, metrics, health, .. } = self.stages;
        let mut backoff = Backoff::default();
        let mut places = Places::new();
        while let Err(error) = dead_letters.publish(letters, &mut places).await {
            self.wait_for_dead_letter_topic(&error, &mut backoff).await;
        }
        health.up(Check::DeadLetterTopic, self.scope);
        trail::published(letters);
        for letter in letters {
            let Refusal { stage, cause, place, .. } = &letter.refusal;
            let resource_type = place.resource_type.as_deref().map_or("other", resource_type_label);
            metrics.dead_letter(*stage, *cause, resource_type);
        }
        for (kind, count, first_offset) in alike(letters.iter()) {
            let (stage, cause, table, column) = kind;
            tracing::warn!(
                topic = &*self.partition.topic, partition = self.partition.partition, offset = first_offset.0,
                %stage, %cause, table, column, letters = count, "dead letters"
            );
        }
    }

    /// Hands letters that this release cannot read on to the dead-letter topic, as they are, until all
    /// replicas have them.
    pub(super) async fn hand_on(self, letters: &[Record]) {
        let Stages { dead_letters, health, .. } = self.stages;
        let mut backoff = Backoff::default();
        while let Err(error) = dead_letters.hand_on(letters).await {
            self.wait_for_dead_letter_topic(&error, &mut backoff).await;
        }
        health.up(Check::DeadLetterTopic, self.scope);
        tracing::warn!(
            topic = &*self.partition.topic,
            partition = self.partition.partition,
            letters = letters.len(),
            "letters of another release, which this one cannot read, went to the dead-letter topic untried"
        );
    }

    /// Publishes letters that wait, each with its place, until all replicas have them. Returns the
    /// places of those that are too large to wait there.
    pub(super) async fn retries(
        self,
        retry: &RetryStage,
        letters: Vec<(usize, DeadLetter)>,
    ) -> Vec<usize> {
        if letters.is_empty() {
            return Vec::new();
        }
        let (places, retries): (Vec<usize>, Vec<Retry>) =
            letters.into_iter().map(|(place, letter)| (place, retry.next(letter))).unzip();
        let mut backoff = Backoff::default();
        let too_large = loop {
            match retry.queue().publish(&retries).await {
                Ok(too_large) => break too_large,
                Err(error) => {
                    let (check, component) = (Check::RetryTopic, Component::RetryTopic);
                    self.wait(check, component, &error, &mut backoff).await;
                }
            }
        };
        self.stages.health.up(Check::RetryTopic, self.scope);
        trail::delayed(&retries);
        for (kind, count, first_offset) in alike(retries.iter().map(|retry| &retry.letter)) {
            let (stage, cause, table, column) = kind;
            tracing::info!(
                topic = &*self.partition.topic, partition = self.partition.partition, offset = first_offset.0,
                %stage, %cause, table, column, letters = count, "refused, to be tried again"
            );
        }
        too_large.into_iter().filter_map(|place| places.get(place).copied()).collect()
    }

    async fn wait_for_dead_letter_topic(self, error: &BrokerError, backoff: &mut Backoff) {
        self.stages.metrics.dead_letter_write_failed();
        self.wait(Check::DeadLetterTopic, Component::DeadLetterTopic, error, backoff).await;
    }

    /// Says what it waits for, and waits until it is to be tried again.
    async fn wait(
        self,
        check: Check,
        component: Component,
        error: &BrokerError,
        backoff: &mut Backoff,
    ) {
        let Stages { metrics, health, .. } = self.stages;
        troubleshooting::waits(self.partition, error);
        metrics.retried(component, broker_cause(error));
        if health.down(check, self.scope, &error.to_string()) {
            tracing::error!(
                topic = &*self.partition.topic, partition = self.partition.partition,
                component = component.as_str(), cause = broker_cause(error), %error,
                "letters cannot be written; the partition waits"
            );
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Stage, cause, table and column of a refusal.
type Kind<'l> = (Stage, Cause, Option<&'l str>, Option<&'l str>);

/// The letters by kind, with their number and the offset of the first. One line per batch and kind
/// is told: a topic full of them must not fill the disk.
fn alike<'l>(letters: impl Iterator<Item = &'l DeadLetter>) -> Vec<(Kind<'l>, usize, Offset)> {
    let mut alike: BTreeMap<Kind<'l>, (usize, Offset)> = BTreeMap::new();
    for letter in letters {
        let Refusal { stage, cause, place, .. } = &letter.refusal;
        let kind = (*stage, *cause, place.table.as_deref(), place.column.as_deref());
        alike.entry(kind).or_insert((0, letter.record.offset)).0 += 1;
    }
    alike.into_iter().map(|(kind, (count, first))| (kind, count, first)).collect()
}
