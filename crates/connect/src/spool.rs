//! Bytes on their way into the stage whose hash, and so whose name, is known only at the end.
//!
//! A local stage spools beside the final place and renames; a bucket spools into an unnamed temporary file and uploads, so that
//! unchanged content is never sent.  In: a writer's bytes.  Out: a staged path.
//! Never here: formats.
//! Start at [`Spool::create`].

use std::fs::File;
use std::io::{self, Read, Seek, Write};

use domain::Hasher;
use object_store::path::Path;

use crate::durable_local::AsideFile;
use crate::stage::files_directory;
use crate::{ConnectError, Stage};

/// Bytes read at once while uploading.
const READ_BYTES: usize = 1024 * 1024;

/// A file that is being written and has no name yet.
#[derive(Debug)]
pub(crate) enum Spool {
    Beside(AsideFile),
    Unnamed(File),
}

/// What was written into a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spooled {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl Spool {
    /// Opens a spool for a file of a source table. Blocks; call it where that may.
    pub(crate) fn create(stage: &Stage, source: &str, table: &str) -> io::Result<Self> {
        match stage.store().local_root() {
            Some(root) => {
                let directory = files_directory(source, table);
                let target = directory.parts().fold(root, |path, part| path.join(part.as_ref())).join("extract");
                AsideFile::create(&target).map(Self::Beside)
            }
            None => tempfile::tempfile().map(Self::Unnamed),
        }
    }

    /// A writer into the spool that hashes and counts on the way.
    pub(crate) fn writer(&self) -> io::Result<SpoolWriter> {
        let file = match self {
            Self::Beside(aside) => aside.handle()?,
            Self::Unnamed(file) => file.try_clone()?,
        };
        Ok(SpoolWriter { file, hasher: Hasher::default(), bytes: 0 })
    }

    /// Gives the bytes their place in the stage.
    pub(crate) async fn keep(self, stage: &Stage, path: &Path, spooled: &Spooled) -> Result<(), ConnectError> {
        if stage.has(path, spooled.bytes).await? {
            return Ok(());
        }
        match self {
            Self::Beside(aside) => {
                let Some(root) = stage.store().local_root() else {
                    return Err(ConnectError::internal("stage a file", "the store is not local any more"));
                };
                let target = path.parts().fold(root, |path, part| path.join(part.as_ref()));
                let kept = tokio::task::spawn_blocking(move || aside.commit(&target, false)).await;
                kept.map_err(|error| ConnectError::internal("stage a file", error))?
                    .map_err(|error| spool_problem(stage, &error))
            }
            Self::Unnamed(file) => upload(stage, file, path, spooled).await,
        }
    }
}

async fn upload(stage: &Stage, mut file: File, path: &Path, spooled: &Spooled) -> Result<(), ConnectError> {
    let mut writer = stage.writer(path.clone());
    file.rewind().map_err(|error| spool_problem(stage, &error))?;
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let mut block = vec![0; READ_BYTES];
            let count = file.read(&mut block)?;
            block.truncate(count);
            io::Result::Ok((file, block))
        });
        let read = read.await.map_err(|error| ConnectError::internal("read the spool", error))?;
        let (returned, block) = read.map_err(|error| spool_problem(stage, &error))?;
        if block.is_empty() {
            break;
        }
        writer.write(&block).await?;
        file = returned;
    }
    writer.finish(&spooled.sha256, path.as_ref()).await.map(drop)
}

/// What went wrong while writing locally, by its cause.
pub(crate) fn spool_problem(stage: &Stage, error: &io::Error) -> ConnectError {
    let location = match stage.store().local_root() {
        Some(root) => root.display().to_string(),
        None => std::env::temp_dir().display().to_string(),
    };
    crate::store::io_problem(&location, error)
}

/// Writes into a [`Spool`].
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    file: File,
    hasher: Hasher,
    bytes: u64,
}

/// A place in what was written, to which a writer can go back.
#[derive(Debug, Clone)]
pub(crate) struct SpoolMark {
    hasher: Hasher,
    bytes: u64,
}

impl SpoolWriter {
    pub(crate) fn finish(self) -> Spooled {
        Spooled { bytes: self.bytes, sha256: self.hasher.finish() }
    }

    /// Remembers how much is written.
    pub(crate) fn mark(&self) -> SpoolMark {
        SpoolMark { hasher: self.hasher.clone(), bytes: self.bytes }
    }

    /// Takes back what was written after `mark`.
    pub(crate) fn cut(&mut self, mark: SpoolMark) -> io::Result<()> {
        self.file.set_len(mark.bytes)?;
        self.file.seek(io::SeekFrom::Start(mark.bytes))?;
        (self.hasher, self.bytes) = (mark.hasher, mark.bytes);
        Ok(())
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
