//! Exit codes: what a script can do about how a run ended.
//!
//! In: an error's kind and code.  Out: a number from the table in the help of `montauk`.
//! Never here: messages.
//! Start at [`exit_code`].

use domain::{ErrorKind, Problem};

pub const OK: u8 = 0;
pub const UNEXPECTED: u8 = 1;
pub const USAGE: u8 = 2;
pub const CONFIG_OR_CONNECTION: u8 = 3;
pub const CHECKS_FAILED: u8 = 4;
pub const REFUSED: u8 = 6;
/// 128 + SIGINT (2), as shells count.
pub const INTERRUPTED: u8 = 130;

/// The exit code of an error: the one place where kinds become numbers.
pub fn exit_code(problem: &dyn Problem) -> u8 {
    match problem.code() {
        "usage" => return USAGE,
        "checks_failed" => return CHECKS_FAILED,
        _ => {}
    }
    match problem.kind() {
        // A wrong file, value or name, or a system that does not answer: somebody has to mend settings or a connection.
        ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unavailable => CONFIG_OR_CONNECTION,
        // A guard stood in the way, or another run was first: deciding or waiting helps.
        ErrorKind::Refused | ErrorKind::Conflict => REFUSED,
        ErrorKind::Internal => UNEXPECTED,
    }
}
