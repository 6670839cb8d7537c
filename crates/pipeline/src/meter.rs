//! What a stretch of work costs this process: processor seconds and memory, as the kernel counts them.
//!
//! In: `/proc/self`.  Out: [`recommend::Usage`]; nothing where the kernel does not tell (anything but Linux).
//! Never here: wall time, which a busy machine stretches.
//! Start at [`ProcessMeter`].

use std::fs;
use std::sync::{Mutex, PoisonError};

use recommend::{Meter, Usage};

/// Measures the whole process, all threads.
#[derive(Debug, Default)]
pub(crate) struct ProcessMeter {
    begun: Mutex<Begun>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Begun {
    cpu_ticks: Option<u64>,
    /// Whether the kernel forgot the highest memory of before.
    is_peak_reset: bool,
}

/// Linux counts in hundredths of a second towards user space, whatever its own tick (proc_pid_stat(5), sysconf(_SC_CLK_TCK)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Written to `clear_refs`: reset the peak resident set size (proc_pid_clear_refs(5)).
const RESET_PEAK: &str = "5";

impl Meter for ProcessMeter {
    fn begin(&self) {
        let is_peak_reset = fs::write("/proc/self/clear_refs", RESET_PEAK).is_ok();
        let begun = Begun { cpu_ticks: cpu_ticks(), is_peak_reset };
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    fn used(&self) -> Usage {
        let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        Usage {
            cpu_seconds: cpu_ticks()
                .zip(begun.cpu_ticks)
                .map(|(now, then)| now.saturating_sub(then) as f64 / TICKS_PER_SECOND),
            peak_memory_bytes: if begun.is_peak_reset { peak_memory_bytes() } else { None },
        }
    }
}

/// User and system time of all threads, those that ended included: fields 14 and 15 of `stat`, counted after the program's
/// name, which may hold anything.
fn cpu_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// `VmHWM`, which the kernel prints in units of 1,024 bytes.
fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_and_memory_that_was_given_back_is_not() {
        let meter = ProcessMeter::default();
        meter.begin();
        let big = vec![1u8; 300_000_000];
        let mut state = 1u64;
        while meter.used().cpu_seconds.unwrap() < 0.05 {
            state = (0..10_000).fold(state, |state, _| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
        assert!(std::hint::black_box(state) != 0 && std::hint::black_box(&big).len() == 300_000_000);
        let with = meter.used().peak_memory_bytes;
        drop(big);
        meter.begin();
        let without = meter.used();
        assert!(without.cpu_seconds.unwrap() < 5.0);
        // Where the kernel does not let a process reset its peak, there is none to compare.
        if let Some((with, without)) = with.zip(without.peak_memory_bytes) {
            assert!(with >= 300_000_000 && with > without, "{with} {without}");
        }
    }
}
