//! One run at a time in one project, by an advisory lock that the operating system releases even after `kill -9`.
//!
//! In: the project's state directory and the command.  Out: a guard, or who is running.
//! Never here: locks on tables; those are the warehouse's, and hold across machines.
//! Start at [`ProjectLock::take`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::PipelineError;

/// Held while a run changes the project; dropping it, or dying, releases it.
#[derive(Debug)]
pub struct ProjectLock {
    _file: File,
}

/// What the lock file says about its holder. Only for people: the lock itself is the operating system's.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Holder {
    pid: u32,
    command: String,
}

impl ProjectLock {
    /// Takes the lock of the project whose state is in `state_dir`.
    ///
    /// Errors: [`PipelineError::RunActive`] when another run holds it.
    pub(crate) fn take(state_dir: &Path, command: &str) -> Result<Self, PipelineError> {
        fs::create_dir_all(state_dir).map_err(|error| PipelineError::io(state_dir, &error))?;
        let path = state_dir.join("lock");
        let io = |error: std::io::Error| PipelineError::io(&path, &error);
        // Not truncated: until the lock is ours, the text belongs to its holder.
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The holder may be just writing it: an empty answer only costs the message a name.
                let _ = file.read_to_string(&mut text);
                let holder: Holder = serde_json::from_str(&text).unwrap_or_default();
                return Err(PipelineError::RunActive { pid: holder.pid, command: holder.command });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let holder = Holder { pid: std::process::id(), command: command.to_owned() };
        let text = serde_json::to_vec(&holder).map_err(|error| PipelineError::json("lock", &error))?;
        file.rewind().map_err(io)?;
        file.set_len(0).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{ErrorKind, Problem};

    #[test]
    fn the_second_run_is_told_who_is_first_and_may_follow_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = ProjectLock::take(dir.path(), "build").unwrap();
        let error = ProjectLock::take(dir.path(), "copy").unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, "run_active"));
        assert!(error.to_string().contains("`montauk build`"), "{error}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        ProjectLock::take(dir.path(), "copy").unwrap();
    }
}
