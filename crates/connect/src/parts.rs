//! Reads the parts of one table on several connections that share one snapshot.
//!
//! In: readers that stand in the snapshot, key ranges.  Out: one finished file per range, in the order of the ranges.
//! A part is the unit of retry: a reader whose connection is lost is dropped with its snapshot, and the part it was reading goes
//! to another one. Nothing of a lost part is kept, so no row is there twice.
//! Never here: SQL (`sources`), what the files are called (`publish` at the end names them).
//! Start at [`read_parts`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::{
    ColumnProof, ExtractReject, KeyCut, LogPosition, Progress, ProofHash, Resume, SourceProof, StageManifest, StageMode,
};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::task::JoinSet;

use crate::key_range::{Border, KeyRange};
use crate::table_writer::Written;
use crate::{ConnectError, ExtractOutcome, ExtractRequest, Stage};

/// A connection that has sent rows, and then none for so long, counts as lost. Longer than any pause of a healthy server that
/// streams along a key, shorter than a person's patience.
const STALL: Duration = Duration::from_secs(300);
/// A statement that has sent nothing yet may compute for so long: a view that groups, a sort, the sums of a proof.
const FIRST_ROW: Duration = Duration::from_secs(2 * 3600);
/// How often a stall is looked for, and progress is shown.
const LOOK: Duration = Duration::from_millis(100);

/// Rows after which a read adds its own to those of all, which is slow: other processors write there as well.
const SHOWN_ROWS: u64 = 1024;

/// One connection in the snapshot, ready to read any part of the table.
#[async_trait]
pub(crate) trait PartReader: Send + 'static {
    /// Readers that take turns on one thread; several where those of different threads would keep each other waiting.
    const TOGETHER: usize = 1;

    /// Reads the rows of `range` into a file, and counts each on the way.
    async fn read(&mut self, range: &KeyRange, rows: &RowCount<'_>) -> Result<Part, ConnectError>;

    /// What the source says about the rows of `range`: count, and checksum per column.
    async fn prove(&mut self, range: &KeyRange) -> Result<PartProof, ConnectError>;

    /// Rows of the whole table, counted without ranges: what shows that the ranges hold each row once.
    async fn count(&mut self) -> Result<u64, ConnectError>;
}

/// Counts the rows of one read, and with them those of all, the last when it is dropped.
pub(crate) struct RowCount<'a> {
    all: &'a AtomicU64,
    own: AtomicU64,
}

impl RowCount<'_> {
    pub(crate) fn add(&self) {
        // Only this read writes its own, so that it need not be kept from others in between.
        let own = self.own.load(Ordering::Relaxed) + 1;
        self.own.store(own, Ordering::Relaxed);
        if own.is_multiple_of(SHOWN_ROWS) {
            self.all.fetch_add(SHOWN_ROWS, Ordering::Relaxed);
        }
    }
}

impl Drop for RowCount<'_> {
    fn drop(&mut self) {
        self.all.fetch_add(*self.own.get_mut() % SHOWN_ROWS, Ordering::Relaxed);
    }
}

/// A part that has been read.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) written: Written,
    pub(crate) rejects: Vec<ExtractReject>,
}

/// What the source says about the rows of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PartProof {
    pub(crate) rows: u64,
    pub(crate) columns: Vec<ColumnProof>,
}

impl PartProof {
    /// Takes in the proof of another part of the same table.
    fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        if self.columns.is_empty() {
            self.columns = other.columns;
            return;
        }
        for (column, found) in self.columns.iter_mut().zip(other.columns) {
            column.checksum.merge(found.checksum);
        }
    }
}

/// What is to be done with each range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Read(usize),
    Prove(usize),
    Count,
}

/// What has come of the tasks.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// One per range, unless only proofs were asked for.
    pub(crate) parts: Vec<Part>,
    pub(crate) proof: Option<PartProof>,
    /// Time that connections spent on proofs, all together.
    pub(crate) proof_time: Duration,
}

/// Which work there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) rows: bool,
    pub(crate) proof: bool,
}

/// What the workers share.
struct Shared {
    ranges: Vec<KeyRange>,
    queue: Mutex<VecDeque<Task>>,
    rows: AtomicU64,
    read: Mutex<Vec<Option<Part>>>,
    proof: Mutex<(PartProof, Duration)>,
    counted: Mutex<Option<u64>>,
}

/// Reads and proves `ranges` on at most `workers` of the readers at a time; the others stand by for lost ones.
///
/// Answers the readers that are left. Errors: the first that is not a lost connection; a lost one when no reader is left.
pub(crate) async fn read_parts<R: PartReader>(
    mut readers: Vec<R>,
    workers: usize,
    ranges: Vec<KeyRange>,
    wanted: Wanted,
    progress: &dyn Progress,
) -> (Vec<R>, Result<Parts, ConnectError>) {
    let count = ranges.len();
    let reads = (0..count).filter(|_| wanted.rows).map(Task::Read);
    let proofs = (0..count).filter(|_| wanted.proof).map(Task::Prove);
    let count_all = (count > 1).then_some(Task::Count);
    let shared = Arc::new(Shared {
        ranges,
        queue: Mutex::new(reads.chain(count_all).chain(proofs).collect()),
        rows: AtomicU64::new(0),
        read: Mutex::new((0..count).map(|_| None).collect()),
        proof: Mutex::new((PartProof::default(), Duration::ZERO)),
        counted: Mutex::new(None),
    });
    let mut lost = None;
    // Each round ends when the queue is empty or all its readers are lost; a lost reader puts its part back for the next round.
    while !locked(&shared.queue).is_empty() {
        if readers.is_empty() {
            let error = lost.unwrap_or_else(|| ConnectError::internal("read a table", "there is no connection"));
            return (readers, Err(error));
        }
        let at_work = workers.max(1).min(readers.len());
        let mut round = set_to_work(readers.drain(..at_work).collect(), &shared);
        let mut failed = None;
        let mut shown = shared.rows.load(Ordering::Relaxed);
        loop {
            let ended = tokio::time::timeout(LOOK, round.join_next()).await;
            let rows = shared.rows.load(Ordering::Relaxed);
            progress.advance(rows - shown);
            shown = rows;
            match ended {
                Err(_) => {}
                Ok(None) => break,
                Ok(Some(Ok(group))) => {
                    for (reader, error) in group {
                        readers.extend(reader);
                        match error {
                            Some(error @ ConnectError::ConnectionLost { .. }) => {
                                tracing::warn!(%error, "another connection takes over the part");
                                lost = Some(error);
                            }
                            Some(error) => failed = failed.or(Some(error)),
                            None => {}
                        }
                    }
                }
                Ok(Some(Err(error))) => failed = failed.or_else(|| Some(ConnectError::internal("read a part", error))),
            }
        }
        if let Some(error) = failed {
            return (readers, Err(error));
        }
    }
    let parts: Vec<Part> = locked(&shared.read).drain(..).flatten().collect();
    let (proof, proof_time) = std::mem::take(&mut *locked(&shared.proof));
    let in_parts = if wanted.rows { parts_rows(&parts) } else { proof.rows };
    if let Some(counted) = locked(&shared.counted).filter(|counted| *counted != in_parts) {
        return (readers, Err(ConnectError::BadCut { parts: in_parts, whole: counted }));
    }
    (readers, Ok(Parts { parts, proof: wanted.proof.then_some(proof), proof_time }))
}

/// A reader whose work has ended, unless its connection is lost; and what ended it before there was nothing left to do.
type Ended<R> = (Option<R>, Option<ConnectError>);

/// Lets readers work, as many as [`PartReader::TOGETHER`] in one task, and so on one thread at a time.
fn set_to_work<R: PartReader>(mut readers: Vec<R>, shared: &Arc<Shared>) -> JoinSet<Vec<Ended<R>>> {
    let mut round = JoinSet::new();
    while !readers.is_empty() {
        let others = readers.split_off(readers.len().min(R::TOGETHER));
        let group = std::mem::replace(&mut readers, others);
        let work: FuturesUnordered<_> = group.into_iter().map(|reader| work(reader, Arc::clone(shared))).collect();
        round.spawn(work.collect());
    }
    round
}

/// Takes tasks until there are none, or until one fails. Answers the reader unless its connection is lost.
async fn work<R: PartReader>(mut reader: R, shared: Arc<Shared>) -> Ended<R> {
    loop {
        let Some(task) = locked(&shared.queue).pop_front() else { return (Some(reader), None) };
        let Err(error) = do_one(&mut reader, task, &shared).await else { continue };
        let is_lost = matches!(error, ConnectError::ConnectionLost { .. });
        let mut queue = locked(&shared.queue);
        if is_lost {
            queue.push_front(task);
            return (None, Some(error));
        }
        // The others finish what they are at, and find nothing more to do.
        queue.clear();
        return (Some(reader), Some(error));
    }
}

async fn do_one<R: PartReader>(reader: &mut R, task: Task, shared: &Shared) -> Result<(), ConnectError> {
    match task {
        Task::Read(at) => {
            let rows = RowCount { all: &shared.rows, own: AtomicU64::new(0) };
            let part = with_stall(reader.read(&shared.ranges[at], &rows), &rows.own).await?;
            locked(&shared.read)[at] = Some(part);
        }
        Task::Count => {
            let since = Instant::now();
            let counted = in_time(reader.count()).await?;
            *locked(&shared.counted) = Some(counted);
            locked(&shared.proof).1 += since.elapsed();
        }
        Task::Prove(at) => {
            let since = Instant::now();
            let found = in_time(reader.prove(&shared.ranges[at])).await?;
            let mut proof = locked(&shared.proof);
            proof.0.merge(found);
            proof.1 += since.elapsed();
        }
    }
    Ok(())
}

/// Gives up on a read that has sent rows, and none for [`STALL`]; or none at all for [`FIRST_ROW`].
async fn with_stall(
    read: impl Future<Output = Result<Part, ConnectError>>,
    rows: &AtomicU64,
) -> Result<Part, ConnectError> {
    tokio::pin!(read);
    let since = Instant::now();
    let mut seen = 0;
    loop {
        match tokio::time::timeout(STALL, &mut read).await {
            Ok(result) => return result,
            Err(_) => {
                let now = rows.load(Ordering::Relaxed);
                if now == seen && (now > 0 || since.elapsed() > FIRST_ROW) {
                    return Err(silent(if now > 0 { STALL } else { FIRST_ROW }));
                }
                seen = now;
            }
        }
    }
}

/// Gives up on a statement that answers once, after [`FIRST_ROW`].
async fn in_time<T>(work: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
    tokio::time::timeout(FIRST_ROW, work).await.unwrap_or_else(|_| Err(silent(FIRST_ROW)))
}

fn silent(limit: Duration) -> ConnectError {
    let reason = format!("it sent nothing for {} s", limit.as_secs());
    ConnectError::ConnectionLost { server: "the server".to_owned(), reason }
}

fn parts_rows(parts: &[Part]) -> u64 {
    parts.iter().map(|part| part.written.rows()).sum()
}

/// The value behind a lock; a thread that died while holding it left nothing half done, since all changes are single steps.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows of a part: a second or so of reading, so that little is lost with a connection, and a file of a few dozen megabytes.
const PART_ROWS: u64 = 250_000;
/// Parts of a table at most: each is a file, and a manifest names them all.
const MAX_PARTS: u64 = 1_000;

/// Into how many parts to cut a table of about that many rows. A multiple of the workers, so that they end together.
pub(crate) fn wanted_parts(approximate_rows: Option<u64>, workers: usize) -> usize {
    let rows = approximate_rows.unwrap_or(0);
    if rows < PART_ROWS {
        return 1;
    }
    let workers = workers.max(1) as u64;
    let parts = (rows / PART_ROWS).clamp(1, MAX_PARTS).next_multiple_of(workers);
    usize::try_from(parts).unwrap_or(1)
}

/// The borders of the last extraction when they still cut well: the same key, parts neither too large nor too small for the
/// table as it is now, and none over three times the median.
pub(crate) fn borders_to_keep(
    latest: Option<&StageManifest>,
    key: &[String],
    approximate_rows: Option<u64>,
) -> Option<Vec<Border>> {
    let latest = latest?;
    let cut = latest.cut.as_ref().filter(|cut| cut.key == key)?;
    let mut rows: Vec<u64> = latest.files.iter().map(|file| file.rows.unwrap_or(0)).collect();
    rows.sort_unstable();
    let per_part = approximate_rows? / (cut.borders.len() as u64 + 1);
    let is_even = rows.last()? <= &(3 * rows.get(rows.len() / 2)?);
    let is_fit = (PART_ROWS / 4..PART_ROWS * 3).contains(&per_part);
    (is_even && is_fit && rows.len() == cut.borders.len() + 1).then(|| cut.borders.clone())
}

/// What a manifest says about its parts besides their files.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) position: Option<LogPosition>,
    pub(crate) cut: Option<KeyCut>,
    pub(crate) hash: Option<ProofHash>,
    pub(crate) resume: Option<Resume>,
}

impl Parts {
    /// The table's proof as a manifest carries it.
    pub(crate) fn source_proof(&self, hash: ProofHash) -> Option<SourceProof> {
        let proof = self.proof.as_ref()?;
        Some(SourceProof { hash, rows: proof.rows, columns: proof.columns.clone() })
    }

    /// Gives the files their places and publishes their manifest, or drops them when the same is staged already.
    pub(crate) async fn publish(
        self,
        request: &ExtractRequest,
        stage: &Stage,
        latest: Option<StageManifest>,
        told: Told,
    ) -> Result<ExtractOutcome, ConnectError> {
        let proof = told.hash.and_then(|hash| self.source_proof(hash));
        let proof_milliseconds = u64::try_from(self.proof_time.as_millis()).unwrap_or(u64::MAX);
        let count = self.parts.len();
        let mut files = Vec::with_capacity(count);
        for (at, part) in self.parts.into_iter().enumerate() {
            let name = if count == 1 {
                format!("{}.parquet", request.table)
            } else {
                format!("{}-{:05}.parquet", request.table, at + 1)
            };
            files.push(part.written.keep(request, stage, name, part.rejects).await?);
        }
        let mut manifest = request.manifest(StageMode::Full, files);
        manifest.position = told.position;
        manifest.proof = proof;
        manifest.cut = told.cut;
        manifest.resume = told.resume;
        let mut outcome = request.publish(stage, latest, manifest).await?;
        outcome.proof_milliseconds = proof_milliseconds;
        Ok(outcome)
    }
}
