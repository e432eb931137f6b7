//! Whether anything is left to be done, for a member of the group that has no partition.
//!
//! In: what the broker knows of the group. Out: whether all is committed, and was when it was asked
//! before. Nobody else tells such a member, since nothing arrives at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::broker::{BrokerError, Group};

/// No log has such an end.
const NEVER_ASKED: i64 = -1;

/// The partitions of all members.
#[derive(Clone)]
pub(super) struct Others {
    group: Arc<dyn Group>,
    /// The ends of all logs, added up, when it was asked last: more of them, and something arrived.
    ends: Arc<AtomicI64>,
}

impl Others {
    pub(super) fn of(group: &Arc<dyn Group>) -> Self {
        Self { group: Arc::clone(group), ends: Arc::new(AtomicI64::new(NEVER_ASKED)) }
    }

    /// Whether the group's committed offsets have reached every log end of its topics, and nothing
    /// arrived since the last question. No topic at all has nothing to be settled.
    pub(super) async fn are_settled(&self) -> bool {
        match self.settled_ends().await {
            Ok(Some(ends)) => self.ends.swap(ends, Ordering::Relaxed) == ends,
            Ok(None) | Err(_) => false,
        }
    }

    /// The ends, added up; `None` if something before them is not committed.
    async fn settled_ends(&self) -> Result<Option<i64>, BrokerError> {
        let Some(partitions) = self.group.partitions().await? else { return Ok(None) };
        let mut ends = 0;
        for partition in partitions {
            // first: what arrives meanwhile is then not taken for settled
            let committed = self.group.committed(&partition).await?;
            let (start, end) = self.group.watermarks(&partition).await?;
            if committed.map_or(start, |committed| committed.max(start)) < end {
                return Ok(None);
            }
            ends += end.0;
        }
        Ok(Some(ends))
    }
}
