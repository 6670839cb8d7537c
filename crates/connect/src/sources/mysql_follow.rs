//! Mode `changes` of MySQL and MariaDB: a table from where its last extraction ended, by the log.
//!
//! In: a request, the newest manifest of its table.  Out: a manifest of changes, or why the table must be read whole.
//! Never here: the log's bytes (`mysql_log`, `mysql_log_stream`), whether a table can be followed (`mysql_log_check`).
//! Start at [`MySqlSource::extract_changes`].

use domain::{DELETED_COLUMN, LogPosition, Resume, StageManifest, StagedFile};
use mysql_async::Conn;

use super::mysql::{Job, Looked, MySqlSource};
use super::mysql_log::{Follow, Followed, follow, hash_columns};
use super::mysql_log_check::{LogTable, check_position, check_server, check_table, log_end, unusable};
use super::mysql_log_stream::{Broken, LogStream, Place};
use super::mysql_snapshot::Snapshot;
use crate::{ConnectError, ExtractOutcome, ExtractRequest, InvalidDates, changes};

impl MySqlSource {
    /// Stages what the log says has changed since `before`; or answers why the table must be read whole.
    pub(super) async fn extract_changes(
        &self,
        snapshot: &mut Snapshot,
        job: Job<'_>,
        (looked, log): (&Looked, &LogTable),
        before: StageManifest,
    ) -> Result<Result<ExtractOutcome, String>, ConnectError> {
        let (request, stage, progress) = job;
        let columns = Resume::Log { columns: hash_columns(&looked.table) };
        if before.resume.as_ref() != Some(&columns) {
            return Ok(Err("its columns have changed".to_owned()));
        }
        let Some(at @ LogPosition::Binlog { file, position, .. }) = &before.position else {
            return Ok(Err("it was read from another kind of server".to_owned()));
        };
        let (from, to) = ((file.clone(), *position), self.place(snapshot)?);
        let gone = |reason| self.log_gone(request, looked, Some(at), reason);
        let connection = self.first(snapshot)?;
        if let Some(reason) = check_position(connection, &self.address, log.server, at).await? {
            return Err(gone(reason));
        }
        let what = Follow { address: &self.address, request, stage, progress, table: &looked.table, log };
        progress.begin(&format!("follow {}.{}", request.source, request.table), None);
        let part = match follow(&what, &from, &to).await? {
            Followed::Changes(part) => part,
            Followed::Anew(why) => return Ok(Err(why)),
            Followed::Gone(reason) => return Err(gone(reason)),
        };
        let rows = part.as_ref().map_or(0, |part| part.written.rows());
        let (proof, proof_milliseconds) = self.prove_in(snapshot, job, looked, &before).await?;
        progress.finish(&format!("{rows} changes"));
        let mut files: Vec<StagedFile> = Vec::new();
        if let Some(part) = part {
            files.push(part.written.keep(request, stage, changes::file_name(request, &before), part.rejects).await?);
        }
        let rules = (looked.table.primary_key.clone(), Some(DELETED_COLUMN));
        let mut manifest = changes::manifest(request, &before, files, rules)?;
        manifest.position = snapshot.position.clone();
        manifest.proof = proof;
        manifest.resume = Some(columns);
        let outcome = request.publish_changes(stage, before, manifest).await?;
        Ok(Ok(ExtractOutcome { proof_milliseconds, ..outcome }))
    }

    /// Whether the log can be read from the snapshot on: a right that is missing shows now, and not when the whole table has been read.
    pub(super) async fn check_log(
        &self,
        snapshot: &Snapshot,
        request: &ExtractRequest,
        (looked, log): (&Looked, &LogTable),
    ) -> Result<(), ConnectError> {
        let place = self.place(snapshot)?;
        match LogStream::open(&self.address, log.server, (&place, &place)).await {
            Ok(stream) => stream.close().await,
            Err(Broken::Gone(reason)) => {
                return Err(self.log_gone(request, looked, snapshot.position.as_ref(), reason));
            }
            Err(Broken::Other(error)) => return Err(error),
        }
        Ok(())
    }

    /// Whether the changes of `tables` can be followed, from the end of the log on.
    pub(super) async fn try_log(&self, connection: &mut Conn, tables: &[(&str, &str)]) -> Result<String, ConnectError> {
        let server = check_server(connection, &self.address).await?;
        for (database, name) in tables {
            let table = self.table(connection, (database, name), InvalidDates::default()).await?;
            check_table(connection, &self.address, server, (database, &table)).await?;
        }
        let end = log_end(connection, &self.address, server).await?;
        match LogStream::open(&self.address, server, (&end, &end)).await {
            Ok(stream) => stream.close().await,
            Err(Broken::Gone(reason)) => {
                return Err(ConnectError::internal("look at the log", format!("its end is not there: {reason}")));
            }
            Err(Broken::Other(error)) => return Err(error),
        }
        Ok(format!("changes of {} tables can be followed in it, which ends at {}:{}", tables.len(), end.0, end.1))
    }

    /// Where the snapshot stands in the log.
    fn place(&self, snapshot: &Snapshot) -> Result<Place, ConnectError> {
        match &snapshot.position {
            Some(LogPosition::Binlog { file, position, .. }) => Ok((file.clone(), *position)),
            Some(LogPosition::Wal { .. }) | None => Err(unusable(
                &self.address,
                "the server does not say where in its log the snapshot stands".to_owned(),
                format!("`GRANT RELOAD, REPLICATION CLIENT ON *.* TO {}`", self.address.user),
            )),
        }
    }

    fn log_gone(
        &self,
        request: &ExtractRequest,
        looked: &Looked,
        position: Option<&LogPosition>,
        reason: String,
    ) -> ConnectError {
        ConnectError::LogGone {
            server: self.address.server.clone(),
            source_table: format!("{}.{}", request.source, request.table),
            table: looked.shown(),
            position: position.map(ToString::to_string).unwrap_or_default(),
            reason,
        }
    }
}
