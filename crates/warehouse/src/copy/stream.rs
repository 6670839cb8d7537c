//! A staged file as a plain stream of decompressed bytes, for the thread that parses it.
//!
//! In: an object store and a staged file.  Out: [`Decompressed`], which also checks that the bytes are those that were staged.
//! Memory: one chunk of the store and the window of the decompressor.
//! Never here: records and fields (`csv`).
//! Start at [`open`].

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use domain::{Compression, Hasher, StagedFile};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

use crate::table::plain_path;

/// Opens a staged file. Call it on a thread that may block, inside a tokio runtime.
pub(crate) fn open(store: &Arc<dyn ObjectStore>, file: &StagedFile) -> io::Result<Decompressed> {
    let runtime = Handle::current();
    let path = plain_path(&file.path);
    let found = runtime.block_on(store.get(&path)).map_err(io::Error::other)?;
    let hasher = Arc::new(Mutex::new(Hasher::default()));
    let source = match found.payload {
        // A local file is read in place: its stream would hop to another thread for every 8 KiB.
        GetResultPayload::File(file, _) => Source::File(file),
        GetResultPayload::Stream(chunks) => Source::Chunks { runtime, chunks, chunk: Bytes::new() },
    };
    let staged = Staged { source, hasher: hasher.clone() };
    let decoder: Box<dyn Read + Send> = match file.compression {
        Compression::None => Box::new(staged),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(staged)),
        Compression::Zstd => Box::new(zstd::Decoder::new(staged)?),
    };
    Ok(Decompressed { decoder, hasher, expected: file.sha256.clone() })
}

/// The decompressed bytes. At the end of the stream the staged bytes must have the hash that the manifest names.
pub(crate) struct Decompressed {
    decoder: Box<dyn Read + Send>,
    hasher: Arc<Mutex<Hasher>>,
    expected: String,
}

impl Read for Decompressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            let found = match self.hasher.lock() {
                Ok(hasher) => hasher.clone().finish(),
                Err(poisoned) => poisoned.into_inner().clone().finish(),
            };
            if found != self.expected {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its bytes are not those that were staged"));
            }
        }
        Ok(read)
    }
}

/// The staged bytes, hashed as they pass.
struct Staged {
    source: Source,
    hasher: Arc<Mutex<Hasher>>,
}

enum Source {
    File(File),
    Chunks { runtime: Handle, chunks: BoxStream<'static, object_store::Result<Bytes>>, chunk: Bytes },
}

impl Read for Staged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        match self.hasher.lock() {
            Ok(mut hasher) => hasher.update(&buffer[..length]),
            Err(poisoned) => poisoned.into_inner().update(&buffer[..length]),
        }
        Ok(length)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Chunks { runtime, chunks, chunk } => {
                while chunk.is_empty() {
                    match runtime.block_on(chunks.next()) {
                        Some(next) => *chunk = next.map_err(io::Error::other)?,
                        None => return Ok(0),
                    }
                }
                let length = buffer.len().min(chunk.len());
                buffer[..length].copy_from_slice(&chunk.split_to(length));
                Ok(length)
            }
        }
    }
}
