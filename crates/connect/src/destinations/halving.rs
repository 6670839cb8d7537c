//! Finds the rows that a target does not take: write many at once, and halve what fails until the bad rows are alone.
//!
//! In: row numbers.  Out: the next range to try.  A bad row among n costs about 2·log2(n) statements.
//! Never here: statements.
//! Start at [`Halving::new`].

use std::collections::VecDeque;
use std::ops::Range;

/// Positions still to be written, in order.
#[derive(Debug)]
pub(crate) struct Halving {
    queue: VecDeque<Range<usize>>,
}

impl Halving {
    /// Cuts `len` positions into ranges of at most `step`.
    pub(crate) fn new(len: usize, step: usize) -> Self {
        let step = step.max(1);
        Self { queue: (0..len).step_by(step).map(|start| start..len.min(start + step)).collect() }
    }

    /// The next range to try.
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        self.queue.pop_front()
    }

    /// Tells that `range` failed. Answers the position when it was one alone; else both halves are next.
    pub(crate) fn failed(&mut self, range: Range<usize>) -> Option<usize> {
        if range.len() <= 1 {
            return Some(range.start);
        }
        let middle = range.start + range.len() / 2;
        self.queue.push_front(middle..range.end);
        self.queue.push_front(range.start..middle);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes 0..len where `bad` positions fail; answers what was written, the rejects, and the number of statements.
    fn run(len: usize, step: usize, bad: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut written, mut rejected, mut tries) = (Vec::new(), Vec::new(), 0);
        let mut halving = Halving::new(len, step);
        while let Some(range) = halving.next() {
            tries += 1;
            if bad.iter().any(|position| range.contains(position)) {
                rejected.extend(halving.failed(range));
            } else {
                written.extend(range);
            }
        }
        (written, rejected, tries)
    }

    #[test]
    fn every_row_is_written_once_or_rejected_once() {
        for (len, bad) in [
            (0, vec![]),
            (1, vec![0]),
            (1000, vec![0, 1, 500, 999]),
            (2500, vec![1234]),
            (7, vec![0, 1, 2, 3, 4, 5, 6]),
        ] {
            let (written, rejected, _) = run(len, 1000, &bad);
            assert_eq!(rejected, bad);
            let wanted: Vec<usize> = (0..len).filter(|position| !bad.contains(position)).collect();
            assert_eq!(written, wanted);
        }
    }

    #[test]
    fn one_bad_row_costs_few_statements() {
        let (_, _, tries) = run(1000, 1000, &[617]);
        assert!(tries <= 21, "{tries}");
    }
}
