//! `experiment preview`: a link that shows a variant.
//!
//! In: an experiment, a variant, an address.  Out: the link.
//! Never here: who may make one (`control`), what SDKs make of it (`experiment::program`).
//! Start at [`preview`].

use chrono::TimeDelta;
use control::{PreviewRequest, QaEntry};
use experiment::program::{PREVIEW_ATTRIBUTE, preview_link};
use serde::Serialize;

use crate::commands::Shell;
use crate::error::AppError;
use crate::store::{Desk, failed};

/// What was made, and what to open.
#[derive(Debug, Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    entry: &'a QaEntry,
    link: &'a str,
}

pub(super) async fn preview(
    shell: &Shell,
    desk: &Desk,
    key: &str,
    variant: String,
    days: u32,
    url: Option<&str>,
) -> Result<(), AppError> {
    let link = |token: &str| match url {
        None => Ok(format!("{PREVIEW_ATTRIBUTE}={token}")),
        Some(url) => preview_link(url, token).ok_or_else(|| AppError::Usage {
            message: format!("`{url}` is no address"),
            help: "write one such as https://shop.example/checkout".to_owned(),
        }),
    };
    // An address that cannot be must not leave an entry behind.
    link("")?;
    let expires_at = Some(shell.now + TimeDelta::days(i64::from(days)));
    let request = PreviewRequest { variant, expires_at };
    let entry = desk.control.preview(&desk.actor, key, request, shell.now).await.map_err(failed)?;
    desk.publish(shell).await?;
    let link = link(&entry.unit)?;
    shell.output.report(&Made { entry: &entry, link: &link }, |output| {
        output.data(&format!("{link}\n"))?;
        let until = entry.expires_at.format("%Y-%m-%d %H:%M");
        output.done("Made", &format!("a link to `{}` of `{key}`, until {until} UTC", entry.variant));
        Ok(())
    })
}
