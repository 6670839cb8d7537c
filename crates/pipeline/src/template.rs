//! The project templates that travel inside the binary, so that `demo` and `init` need no network and no checkout.
//!
//! In: a directory.  Out: the template's files in it; a file that exists is left alone.
//! Never here: what the files mean (`project`).
//! Start at [`write_retail`].

use std::fs;
use std::path::Path;

use crate::PipelineError;
use crate::feed::write_durably;

/// `examples/retail`: a complete project on real data (Online Retail, CC BY 4.0; see its ATTRIBUTION.md).
#[derive(rust_embed::Embed)]
#[folder = "../../examples/retail"]
#[exclude = ".montauk/*"]
#[exclude = "*.py"]
struct Retail;

/// Writes the retail example into `dir` and returns the files written. Existing files are the user's and stay as they are.
pub(crate) fn write_retail(dir: &Path) -> Result<Vec<String>, PipelineError> {
    let mut written = Vec::new();
    for name in Retail::iter() {
        let Some(file) = Retail::get(&name) else { continue };
        if write_new(dir, &name, &file.data)? {
            written.push(name.into_owned());
        }
    }
    Ok(written)
}

/// Writes one file unless it exists; says whether it did.
pub(crate) fn write_new(dir: &Path, name: &str, bytes: &[u8]) -> Result<bool, PipelineError> {
    let target = dir.join(name);
    if target.exists() {
        return Ok(false);
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(|error| PipelineError::io(parent, &error))?;
    }
    // Aside and rename: a killed `init` leaves no half file that a rerun would take for the user's.
    let aside = target.with_extension("aside.tmp");
    write_durably(&aside, bytes)?;
    fs::rename(&aside, &target).map_err(|error| PipelineError::io(&target, &error))?;
    Ok(true)
}
