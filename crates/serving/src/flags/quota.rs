//! A token bucket for one client key: so many evaluations in a second, and no more than that at once.
//!
//! In: a cost and the time.  Out: yes, or how long to wait.
//! Never here: a clock; what is paid for.
//! Start at [`Quota::take`]. Source: the virtual scheduling algorithm (GCRA), ITU-T I.371, annex A: one number in place of a level and a time.

use std::sync::atomic::{AtomicU64, Ordering};

const NANOSECONDS: u64 = 1_000_000_000;

/// One bucket. Full at the start; shared by all requests of a key without a lock.
#[derive(Debug)]
pub(crate) struct Quota {
    per_second: u64,
    /// When the bucket is full again, in nanoseconds since the start.
    full_at: AtomicU64,
}

impl Quota {
    /// `per_second` below 1 counts as 1.
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second: u64::from(per_second).max(1), full_at: AtomicU64::new(0) }
    }

    /// Takes `cost` units, at most a whole bucket. Errors: the whole seconds after which it is worth asking again, at least 1.
    pub(crate) fn take(&self, cost: u64, now_ns: u64) -> Result<(), u64> {
        let wanted = cost.min(self.per_second) * NANOSECONDS / self.per_second;
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now_ns) + wanted;
            let short = next.saturating_sub(now_ns + NANOSECONDS);
            if short > 0 {
                return Err(short.div_ceil(NANOSECONDS));
            }
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_its_number_and_refills_evenly() {
        let quota = Quota::new(10);
        let taken = (0..20).filter(|_| quota.take(1, 5).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(quota.take(1, 5), Err(1));
        // A tenth of a second later there is one more.
        let later = 5 + NANOSECONDS / 10;
        assert_eq!((quota.take(1, later), quota.take(1, later)), (Ok(()), Err(1)));
        // After a pause of an hour the bucket is full, and no fuller.
        let later = later + 3_600 * NANOSECONDS;
        assert_eq!((0..20).filter(|_| quota.take(1, later).is_ok()).count(), 10);
    }

    #[test]
    fn a_cost_beyond_the_bucket_takes_all_of_it_and_is_not_refused_for_ever() {
        let quota = Quota::new(2);
        assert_eq!(quota.take(1_000, 0), Ok(()));
        assert_eq!(quota.take(1, 0), Err(1));
        assert_eq!(quota.take(2, NANOSECONDS), Ok(()));
        assert_eq!(Quota::new(0).take(1, 0), Ok(()));
    }
}
