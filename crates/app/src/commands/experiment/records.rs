//! `experiment export` and `experiment audit`: everything that was decided, for elsewhere.
//!
//! In: keys.  Out: JSON, CSV or a table.
//! Never here: writing audit entries.
//! Start at [`audit`].

use control::{AuditFilter, AuditFormat, ExperimentFilter};

use crate::cli;
use crate::commands::Shell;
use crate::error::AppError;
use crate::store::{Desk, failed};
use crate::table::Table;

pub(super) async fn export(shell: &Shell, desk: &Desk, keys: &[String]) -> Result<(), AppError> {
    let mut records = desk.control.experiments(&desk.actor, &ExperimentFilter::default()).await.map_err(failed)?;
    for key in keys {
        desk.record(key).await?;
    }
    records.retain(|record| keys.is_empty() || keys.contains(&record.key));
    shell.output.json(&records)
}

pub(super) async fn audit(
    shell: &Shell,
    desk: &Desk,
    key: Option<String>,
    format: cli::AuditFormat,
) -> Result<(), AppError> {
    let filter = AuditFilter { key, ..AuditFilter::default() };
    let format = if shell.output.json { cli::AuditFormat::Json } else { format };
    let export = match format {
        cli::AuditFormat::Csv => AuditFormat::Csv,
        cli::AuditFormat::Json => AuditFormat::Json,
        cli::AuditFormat::Table => {
            let entries = desk.control.audit(&desk.actor, &filter).await.map_err(failed)?;
            let mut table = Table::new(&["at", "who", "by", "did", "what", "key", "why"]);
            for entry in entries.into_iter().rev() {
                table.row(vec![
                    entry.at.format("%Y-%m-%d %H:%M:%S").to_string(),
                    entry.person,
                    entry.via,
                    entry.verb,
                    entry.kind.name().to_owned(),
                    entry.key,
                    entry.reason,
                ]);
            }
            return shell.output.data(&table.render());
        }
    };
    let mut export = desk.control.export_audit(&desk.actor, filter, export).map_err(failed)?;
    while let Some(piece) = export.next().await.map_err(failed)? {
        shell.output.data(&piece)?;
    }
    Ok(())
}
