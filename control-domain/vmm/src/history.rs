//! What came, for readers who come at any time: the newest of it is kept, and who waits is woken.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A history. Clones are the same one.
#[derive(Debug)]
pub struct History<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    kept: Mutex<Kept<T>>,
    bell: Condvar,
}

#[derive(Debug)]
struct Kept<T> {
    items: VecDeque<T>,
    /// How many there were before the oldest that is kept.
    before: u64,
    most: usize,
    waiting: usize,
    over: bool,
}

impl<T> Clone for History<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> History<T> {
    /// An empty one that keeps the newest `most` items.
    pub fn keeping(most: usize) -> Self {
        Self(Arc::new(Shared {
            kept: Mutex::new(Kept {
                items: VecDeque::new(),
                before: 0,
                most,
                waiting: 0,
                over: false,
            }),
            bell: Condvar::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Kept<T>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item.
    pub fn push(&self, item: T) {
        let mut kept = self.lock();
        if kept.items.len() >= kept.most {
            kept.items.pop_front();
            kept.before += 1;
        }
        kept.items.push_back(item);
        if kept.waiting > 0 {
            self.0.bell.notify_all();
        }
    }

    /// How many items there were.
    pub fn count(&self) -> u64 {
        let kept = self.lock();
        kept.before + kept.items.len() as u64
    }

    /// Nothing comes any more: readers get what is left, and then nothing.
    pub fn end(&self) {
        self.lock().over = true;
        self.0.bell.notify_all();
    }

    /// The reader that looks at `gone` reads no more.
    pub fn leave(&self, gone: &AtomicBool) {
        let _kept = self.lock();
        gone.store(true, Relaxed);
        self.0.bell.notify_all();
    }

    /// All items from number `next` on, which then is the number of the next one; what is not kept any
    /// more is passed over. Waits until there is one. Nothing: it is over.
    pub fn read(&self, next: &mut u64) -> Option<Vec<T>> {
        self.read_unless(next, &AtomicBool::new(false))
    }

    /// As [`History::read`], and nothing too as soon as `gone` is set, which [`History::leave`] does.
    pub fn read_unless(&self, next: &mut u64, gone: &AtomicBool) -> Option<Vec<T>> {
        let mut kept = self.lock();
        loop {
            let end = kept.before + kept.items.len() as u64;
            if *next < end {
                let skip = next.saturating_sub(kept.before) as usize;
                *next = end;
                return Some(kept.items.range(skip..).cloned().collect());
            }
            if kept.over || gone.load(Relaxed) {
                return None;
            }
            kept.waiting += 1;
            kept = self
                .0
                .bell
                .wait(kept)
                .unwrap_or_else(PoisonError::into_inner);
            kept.waiting -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_kept_and_everyone_reads_all_of_it() {
        let history = History::keeping(4);
        (0..6).for_each(|n| history.push(n));
        let mut next = 0;
        assert_eq!(history.read(&mut next), Some(vec![2, 3, 4, 5]));
        history.push(6);
        assert_eq!(history.read(&mut next), Some(vec![6]));
        let mut second = 5;
        assert_eq!(history.read(&mut second), Some(vec![5, 6]));
        history.end();
        assert_eq!(history.read(&mut next), None);
    }

    #[test]
    fn who_leaves_is_woken() {
        let history = History::<u8>::keeping(1);
        let (reader, gone) = (history.clone(), Arc::new(AtomicBool::new(false)));
        let theirs = gone.clone();
        let thread = std::thread::spawn(move || reader.read_unless(&mut 0, &theirs));
        history.leave(&gone);
        assert_eq!(thread.join().ok(), Some(None));
    }

    #[test]
    fn who_waits_is_woken_by_items_and_by_the_end() {
        let history = History::keeping(1 << 20);
        let reader = history.clone();
        let thread = std::thread::spawn(move || {
            let mut next = 0;
            std::iter::from_fn(|| reader.read(&mut next))
                .flatten()
                .sum::<u64>()
        });
        (1..=1000).for_each(|n| history.push(n));
        history.end();
        assert_eq!(thread.join().ok(), Some(500_500));
    }
}
