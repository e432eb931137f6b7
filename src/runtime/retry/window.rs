//! The letters of one partition of the retry topic that were read and are not settled.
//!
//! In: letters in offset order. Out: those that are due, whatever their order, and the offset below
//! which everything is settled. Bounded: whoever fills it asks whether it is full. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::model::{Offset, Record};

/// A letter that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The letter as it is in the retry topic.
    pub(super) letter: Record,
    /// The record it was made of, at its origin position; `None` if this release cannot read it.
    pub(super) original: Option<Record>,
    /// Identity of the letter, shared by its copies.
    pub(super) id: String,
    /// How often it was tried.
    pub(super) attempts: u32,
    /// When it is due, milliseconds since the epoch.
    pub(super) due: i64,
}

/// How much is held; met once either is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowLimits {
    /// Letters.
    pub(super) records: usize,
    /// Bytes of their keys, values and headers.
    pub(super) bytes: usize,
}

/// The letters of a partition.
#[derive(Debug)]
pub(super) struct Window {
    limits: WindowLimits,
    letters: BTreeMap<Offset, Arc<Waiting>>,
    /// When the letters that are not in hand are due.
    due: BTreeSet<(i64, Offset)>,
    /// The place in `due` of each letter that is not in hand.
    waits_until: HashMap<Offset, i64>,
    /// The latest copy of each letter.
    copies: HashMap<String, Offset>,
    bytes: usize,
    /// The first offset that was read.
    begin: Option<Offset>,
    /// The offset after the last that was read.
    read: Option<Offset>,
}

impl Window {
    /// An empty window.
    pub(super) fn new(limits: WindowLimits) -> Self {
        Self {
            limits,
            letters: BTreeMap::new(),
            due: BTreeSet::new(),
            waits_until: HashMap::new(),
            copies: HashMap::new(),
            bytes: 0,
            begin: None,
            read: None,
        }
    }

    /// A record that is no letter was read: there is nothing to wait for.
    pub(super) fn pass(&mut self, offset: Offset) {
        self.begin.get_or_insert(offset);
        self.read = Some(offset.next());
    }

    /// Takes a letter in. Of copies of one letter, which a crash between publishing and committing
    /// leaves, the one that was tried most stays, so that a record never has two lives.
    pub(super) fn push(&mut self, waiting: Waiting) {
        let offset = waiting.letter.offset;
        self.pass(offset);
        if let Some(copy) = self.copies.get(&waiting.id).copied()
            && self.waits_until.contains_key(&copy)
        {
            let tried = self.letters.get(&copy).map_or(0, |copy| copy.attempts);
            if tried > waiting.attempts {
                return;
            }
            self.settle(copy);
        }
        self.bytes += waiting.letter.size();
        self.copies.insert(waiting.id.clone(), offset);
        let due = waiting.due;
        self.letters.insert(offset, Arc::new(waiting));
        self.wait(offset, due);
    }

    fn wait(&mut self, offset: Offset, due: i64) {
        self.due.insert((due, offset));
        self.waits_until.insert(offset, due);
    }

    /// Takes letters that are due into hand, the longest due first: at most `limits`, at least one
    /// if there is one.
    pub(super) fn take_due(&mut self, now: i64, limits: WindowLimits) -> Vec<Arc<Waiting>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some((due, offset)) = self.due.first().copied()
            && due <= now
            && taken.len() < limits.records
        {
            let Some(letter) = self.letters.get(&offset).cloned() else {
                self.due.remove(&(due, offset));
                continue;
            };
            bytes += letter.letter.size();
            if !taken.is_empty() && bytes > limits.bytes {
                break;
            }
            self.due.remove(&(due, offset));
            self.waits_until.remove(&offset);
            taken.push(letter);
        }
        taken
    }

    /// A letter is settled: written, waiting as a later copy, or dead.
    pub(super) fn settle(&mut self, offset: Offset) {
        let Some(letter) = self.letters.remove(&offset) else { return };
        self.bytes -= letter.letter.size();
        if let Some(due) = self.waits_until.remove(&offset) {
            self.due.remove(&(due, offset));
        }
        if self.copies.get(&letter.id) == Some(&offset) {
            self.copies.remove(&letter.id);
        }
    }

    /// A letter that was in hand waits on.
    pub(super) fn put_back(&mut self, offset: Offset, due: i64) {
        if self.letters.contains_key(&offset) {
            self.wait(offset, due);
        }
    }

    /// When the next letter is due.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// The offset below which everything is settled; `None` if nothing is.
    pub(super) fn settled(&self) -> Option<Offset> {
        let settled = self.letters.keys().next().copied().or(self.read);
        settled.filter(|_| settled > self.begin)
    }

    /// The offset after the last that was read.
    pub(super) const fn read(&self) -> Option<Offset> {
        self.read
    }

    /// Whether the letter at an offset is not settled.
    pub(super) fn holds(&self, offset: Offset) -> bool {
        self.letters.contains_key(&offset)
    }

    /// Letters that are not settled.
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether no more should be read for now.
    pub(super) fn is_full(&self) -> bool {
        self.letters.len() >= self.limits.records || self.bytes >= self.limits.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::model::TopicPartition;

    const ANY: WindowLimits = WindowLimits { records: 1000, bytes: 1 << 20 };

    fn waiting(offset: i64, id: &str, attempts: u32, due: i64) -> Waiting {
        let record = Record {
            source: TopicPartition::new("t.retry", 0),
            offset: Offset(offset),
            timestamp: None,
            key: None,
            value: Some(Bytes::from_static(b"0123456789")),
            headers: Vec::new(),
        };
        Waiting { letter: record.clone(), original: Some(record), id: id.to_owned(), attempts, due }
    }

    fn taken(window: &mut Window, now: i64) -> Vec<i64> {
        window.take_due(now, ANY).iter().map(|letter| letter.letter.offset.0).collect()
    }

    #[test]
    fn a_long_wait_does_not_hold_up_a_short_one_behind_it() {
        let mut window = Window::new(ANY);
        window.push(waiting(0, "a", 5, 1000));
        window.push(waiting(1, "b", 1, 10));
        assert_eq!(window.next_due(), Some(10));
        assert_eq!(taken(&mut window, 10), [1]);
        assert_eq!(window.next_due(), Some(1000));
    }

    #[test]
    fn no_offset_is_settled_before_all_below_it_are() {
        let mut window = Window::new(ANY);
        assert_eq!(window.settled(), None);
        (5..8).for_each(|offset| window.push(waiting(offset, &offset.to_string(), 1, 0)));
        window.pass(Offset(8));
        assert_eq!(taken(&mut window, 0), [5, 6, 7]);
        assert_eq!(window.settled(), None, "in hand is not settled");
        window.settle(Offset(6));
        assert_eq!(window.settled(), None);
        window.settle(Offset(5));
        assert_eq!(window.settled(), Some(Offset(7)));
        window.settle(Offset(7));
        assert_eq!(window.settled(), Some(Offset(9)));
    }

    #[test]
    fn of_copies_of_a_letter_only_the_one_that_was_tried_most_is_tried_again() {
        let mut window = Window::new(ANY);
        window.push(waiting(0, "a", 1, 10));
        window.push(waiting(1, "a", 2, 20));
        window.push(waiting(2, "a", 1, 5));
        assert_eq!(taken(&mut window, 100), [1]);
        assert_eq!(window.settled(), Some(Offset(1)));
        window.push(waiting(3, "a", 3, 40));
        window.settle(Offset(1));
        assert_eq!(taken(&mut window, 100), [3], "a copy of what is in hand waits for its turn");
    }

    #[test]
    fn what_is_put_back_is_due_again_when_it_was_told_to_be() {
        let mut window = Window::new(ANY);
        window.push(waiting(0, "a", 1, 10));
        assert_eq!(taken(&mut window, 10), [0]);
        window.put_back(Offset(0), 50);
        assert_eq!(taken(&mut window, 49), [0_i64; 0]);
        assert_eq!(taken(&mut window, 50), [0]);
    }

    #[test]
    fn it_is_full_at_either_bound_until_something_is_settled() {
        for limits in
            [WindowLimits { records: 2, bytes: 1000 }, WindowLimits { records: 9, bytes: 20 }]
        {
            let mut window = Window::new(limits);
            window.push(waiting(0, "a", 1, 0));
            assert!(!window.is_full());
            window.push(waiting(1, "b", 1, 0));
            assert!(window.is_full());
            assert_eq!(taken(&mut window, 0).len(), 2);
            assert!(window.is_full(), "what is in hand takes room");
            window.settle(Offset(0));
            assert!(!window.is_full());
        }
    }

    #[test]
    fn what_is_taken_at_a_time_is_bounded_and_never_nothing() {
        let mut window = Window::new(ANY);
        (0..9).for_each(|offset| window.push(waiting(offset, &offset.to_string(), 1, 0)));
        assert_eq!(window.take_due(0, WindowLimits { records: 3, bytes: 1000 }).len(), 3);
        assert_eq!(window.take_due(0, WindowLimits { records: 9, bytes: 25 }).len(), 2);
        assert_eq!(window.take_due(0, WindowLimits { records: 9, bytes: 1 }).len(), 1);
    }

    proptest! {
        #[test]
        fn in_whatever_order_letters_are_settled_none_is_lost_or_tried_twice(
            letters in prop::collection::vec((0_u8..6, 1_u32..4, 0_i64..50), 1..40),
            settle in prop::collection::vec(any::<bool>(), 200),
        ) {
            let mut window = Window::new(ANY);
            for (offset, (id, attempts, due)) in (0_i64..).zip(&letters) {
                window.push(waiting(offset, &id.to_string(), *attempts, *due));
            }
            let ids: BTreeSet<u8> = letters.iter().map(|(id, ..)| *id).collect();
            prop_assert_eq!(window.len(), ids.len());
            let mut done = Vec::new();
            let mut settle = settle.into_iter();
            while let Some(due) = window.next_due() {
                for letter in window.take_due(due, ANY) {
                    prop_assert!(letter.due <= due);
                    let offset = letter.letter.offset;
                    if settle.next().unwrap_or(true) {
                        window.settle(offset);
                        done.push(letter.id.clone());
                    } else {
                        window.put_back(offset, due + 1);
                    }
                }
            }
            done.sort();
            prop_assert_eq!(done, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
            prop_assert_eq!(window.settled(), window.read());
            prop_assert!(!window.is_full() && window.bytes == 0 && window.copies.is_empty());
        }
    }
}
