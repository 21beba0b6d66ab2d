//! Threads for attempts: one that has ended its attempt takes the next.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

type Work<'w> = Box<dyn FnOnce() + Send + 'w>;

/// There are never more than there were attempts at once. They end when this goes.
pub(super) struct Threads<'w, 'env> {
    scope: &'w Scope<'w, 'env>,
    shared: Arc<Shared<'w>>,
}

struct Shared<'w> {
    state: Mutex<Idle<'w>>,
    changed: Condvar,
}

struct Idle<'w> {
    waiting: VecDeque<Work<'w>>,
    idle: usize,
    closed: bool,
}

impl<'w, 'env> Threads<'w, 'env> {
    pub fn new(scope: &'w Scope<'w, 'env>) -> Threads<'w, 'env> {
        let state = Idle {
            waiting: VecDeque::new(),
            idle: 0,
            closed: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        Threads {
            scope,
            shared: Arc::new(shared),
        }
    }

    /// Does the work on an idle thread, or on a new one. `Err`: the system has none.
    pub fn start(&self, work: Work<'w>) -> io::Result<()> {
        let mut state = self.shared.state();
        if state.idle > state.waiting.len() {
            state.waiting.push_back(work);
            self.shared.changed.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new();
        thread.spawn_scoped(self.scope, move || shared.work(work))?;
        Ok(())
    }
}

impl Drop for Threads<'_, '_> {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
    }
}

impl<'w> Shared<'w> {
    fn state(&self) -> MutexGuard<'_, Idle<'w>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, first: Work<'w>) {
        let mut next = Some(first);
        while let Some(work) = next {
            work();
            next = self.next();
        }
    }

    fn next(&self) -> Option<Work<'w>> {
        let mut state = self.state();
        state.idle += 1;
        while state.waiting.is_empty() && !state.closed {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        state.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn work_one_after_the_other_has_one_thread_and_at_once_one_each() {
        let (done, ids) = channel();
        std::thread::scope(|scope| {
            let threads = Threads::new(scope);
            for _ in 0..100 {
                let done = done.clone();
                let work = move || done.send(std::thread::current().id()).unwrap();
                threads.start(Box::new(work)).unwrap();
                let id = ids.recv().unwrap();
                // It is idle a moment after it has said so.
                while threads.shared.state().idle == 0 {
                    std::thread::yield_now();
                }
                done_by(&id);
            }
            let barrier = Arc::new(std::sync::Barrier::new(4));
            let mut seen = HashSet::new();
            for _ in 0..4 {
                let (done, barrier) = (done.clone(), barrier.clone());
                let work = move || {
                    // Nobody gets on alone.
                    barrier.wait();
                    done.send(std::thread::current().id()).unwrap();
                };
                threads.start(Box::new(work)).unwrap();
            }
            seen.extend((0..4).map(|_| ids.recv().unwrap()));
            assert_eq!(seen.len(), 4);
        });
    }

    /// All of one thread: the first that was seen.
    fn done_by(id: &std::thread::ThreadId) {
        static FIRST: std::sync::OnceLock<std::thread::ThreadId> = std::sync::OnceLock::new();
        assert_eq!(FIRST.get_or_init(|| *id), id);
    }
}
