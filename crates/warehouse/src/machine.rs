//! What the machine has.
//!
//! In: nothing.  Out: bytes.
//! Never here: who may use how much of it.
//! Start at [`memory_bytes`].

use std::fs;

/// Assumed where the kernel does not tell.
const MEMORY_OF_A_SMALL_MACHINE: u64 = 4 << 30;

/// Bytes that this process may use: the machine's memory, or less if its control group says so (proc_meminfo(5), cgroup v2).
pub fn memory_bytes() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
    });
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    total.into_iter().chain(group).min().unwrap_or(MEMORY_OF_A_SMALL_MACHINE)
}
