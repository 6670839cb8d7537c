//! `montauk train`: one line per artefact.
//!
//! In: recommenders and a seed.  Out: the artefacts.
//! Never here: training (`recommend`).
//! Start at [`run`].

use pipeline::steps::train::{self, Report, Request, Status};

use super::{Outcome, Shell};
use crate::cli;
use crate::error::AppError;
use crate::output::{count, grouped};
use crate::table::Table;

pub async fn run(shell: &Shell, arguments: cli::Train) -> Result<Outcome, AppError> {
    let request = Request { recommenders: arguments.recommenders, seed: arguments.seed };
    let report = shell.write("train", async |context| train::run(context, request).await).await?;
    shell.output.report(&report, |output| {
        if !report.trained.is_empty() {
            output.data(&draw(&report).render())?;
        }
        for trained in report.trained.iter().filter(|trained| trained.rejected_rows > 0) {
            output.warn(&format!(
                "{}: {} of the mart were not used",
                trained.recommender,
                count(trained.rejected_rows as u64, "row")
            ));
        }
        let new = report.trained.iter().filter(|trained| trained.status == Status::Trained).count();
        let unchanged = report.trained.len() - new;
        output.done(
            "Trained",
            &format!("{}, {unchanged} unchanged, in {}", count(new as u64, "recommender"), shell.took()),
        );
        Ok(())
    })?;
    Ok(Outcome::Done)
}

fn draw(report: &Report) -> Table {
    let mut table = Table::new(&["recommender", "artefact", "", "#users", "#items", "#pairs", "#seconds"]);
    for trained in &report.trained {
        let status = match trained.status {
            Status::Trained => "new",
            Status::Unchanged => "unchanged",
        };
        table.row(vec![
            trained.recommender.clone(),
            trained.artefact.clone(),
            status.to_owned(),
            grouped(trained.users as u64),
            grouped(trained.items as u64),
            grouped(trained.pairs as u64),
            format!("{:.2}", trained.seconds),
        ]);
    }
    table
}
