//! Work on parts of a list, each in a thread.

use std::{panic::resume_unwind, thread};

/// Divides `items` into at most `count` parts, calls `work` for each in a thread of its own, and
/// returns the results in the order of the parts. This thread does the work of threads that cannot
/// be started.
pub(crate) fn in_threads<T: Sync, R: Send>(
    items: &[T],
    count: usize,
    work: impl Fn(&[T]) -> R + Sync,
) -> Vec<R> {
    let size = items.len().div_ceil(count.max(1)).max(1);
    let work = &work;
    thread::scope(|scope| {
        let start = |part| {
            let thread = thread::Builder::new().spawn_scoped(scope, move || work(part));
            thread.map_err(|_| part)
        };
        let threads: Vec<_> = items.chunks(size).map(start).collect();
        let finish = |thread: Result<thread::ScopedJoinHandle<'_, R>, _>| match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(part) => work(part),
        };
        threads.into_iter().map(finish).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_one_part_in_order() {
        let items: Vec<u32> = (0..10).collect();
        for count in 0..12 {
            let parts = in_threads(&items, count, <[u32]>::to_vec);
            assert_eq!(parts.concat(), items);
            assert!(parts.len() <= count.max(1), "{count}");
        }
        assert!(in_threads(&[], 3, <[u32]>::to_vec).is_empty());
    }

    #[test]
    #[should_panic(expected = "the reason")]
    fn a_panic_is_not_an_empty_result() {
        in_threads(&[1], 2, |_: &[u32]| panic!("the reason"));
    }
}
