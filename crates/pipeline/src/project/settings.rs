//! `montauk.toml` over `config/default.toml`: what the platform is. What one run does is said by flags.
//!
//! In: the user's file.  Out: [`Settings`] with every key filled in.
//! Never here: secrets (environment), sources, models, recommenders (their own files).
//! Start at [`Settings::read`].

use std::net::SocketAddr;

use toml::de::{DeTable, DeValue};

use super::document::Document;
use crate::error::{FileProblem, PipelineError};

/// Every key with its default, unit and reason.
const DEFAULTS: &str = include_str!("../../../../config/default.toml");

/// The settings of a project.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub project: ProjectSettings,
    pub warehouse: PlaceSettings,
    pub stage: PlaceSettings,
    pub serve: ServeSettings,
    pub publish: PublishSettings,
    pub query: QuerySettings,
}

/// What the project is called and which Montauk it needs.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectSettings {
    pub name: String,
    /// Versions of Montauk that can run it, such as `>=0.1, <0.2`.
    pub requires: Option<semver::VersionReq>,
}

/// Where something is kept: a directory relative to the project, or `s3://bucket/prefix`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaceSettings {
    pub location: String,
}

/// How recommendations are served.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeSettings {
    pub listen: SocketAddr,
    /// How often serving looks for a newer artefact or feed, in milliseconds.
    pub poll_ms: u64,
    /// How long open requests may take to finish after a stop signal, in milliseconds.
    pub drain_ms: u64,
}

/// What guards apply when rows leave.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishSettings {
    /// Largest share of the accepted rows that one run may change or delete, 0.0–1.0.
    pub max_change: f64,
}

/// How query results are shown.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    /// Rows shown in a terminal when nobody says how many.
    pub limit: usize,
}

impl Settings {
    /// Reads `montauk.toml`; keys that it leaves out have the value of `config/default.toml`.
    pub(crate) fn read(document: &Document) -> Result<Self, PipelineError> {
        let defaults = Document { path: "config/default.toml".to_owned(), text: DEFAULTS.to_owned() };
        let mut merged = document.table()?;
        // Values keep the place where they were written, so an error in the user's file points into the user's file.
        fill_in(merged.get_mut(), defaults.table()?.into_inner());
        let settings: Self = document.parse_table(merged)?;
        settings.validate(document)?;
        Ok(settings)
    }

    fn validate(&self, document: &Document) -> Result<(), PipelineError> {
        if self.project.name.trim().is_empty() {
            let problem = document.problem_at(&["project", "name"], "bad_value", "the project has no name".to_owned());
            return Err(problem.into());
        }
        if !(0.0..=1.0).contains(&self.publish.max_change) {
            let message = format!("`{}` is not a share", self.publish.max_change);
            let problem = document.problem_at(&["publish", "max_change"], "bad_value", message);
            return Err(problem.with_note(Some("expected a number from 0.0 to 1.0".to_owned())).into());
        }
        self.check_version(document, env!("CARGO_PKG_VERSION"))
    }

    /// Refuses a project that was made for another Montauk.
    fn check_version(&self, document: &Document, version: &str) -> Result<(), PipelineError> {
        let Some(requires) = &self.project.requires else { return Ok(()) };
        if semver::Version::parse(version).is_ok_and(|version| requires.matches(&version)) {
            return Ok(());
        }
        let message = format!("this project needs Montauk {requires}, and this is {version}");
        let problem: FileProblem = document.problem_at(&["project", "requires"], "wrong_version", message);
        Err(problem.with_help("install a Montauk of that version, or change `requires`".to_owned()).into())
    }
}

/// Adds to `user` what it leaves out. A key of the wrong kind stays, so that parsing finds it.
fn fill_in<'i>(user: &mut DeTable<'i>, defaults: DeTable<'i>) {
    for (key, default) in defaults {
        match user.get_mut(key.get_ref().as_ref()) {
            None => {
                user.insert(key, default);
            }
            Some(given) => {
                if let (DeValue::Table(given), DeValue::Table(default)) = (given.get_mut(), default.into_inner()) {
                    fill_in(given, default);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, PipelineError> {
        Settings::read(&Document { path: "montauk.toml".to_owned(), text: text.to_owned() })
    }

    #[test]
    fn defaults_hold_every_key_but_the_name() {
        let settings = read("[project]\nname = \"shop\"\n").unwrap();
        assert_eq!(settings.warehouse.location, ".montauk/warehouse");
        assert_eq!(settings.serve.listen.port(), 8080);
    }

    #[test]
    fn the_users_value_wins_over_the_default() {
        let settings = read("[project]\nname = \"shop\"\n[serve]\nlisten = \"0.0.0.0:80\"\n").unwrap();
        assert_eq!(settings.serve.listen.to_string(), "0.0.0.0:80");
        assert_eq!(settings.serve.poll_ms, 1_000);
    }

    #[test]
    fn a_project_for_another_version_is_refused() {
        let error = read("[project]\nname = \"shop\"\nrequires = \">=9\"\n").unwrap_err();
        assert!(error.to_string().contains("needs Montauk >=9"), "{error}");
    }
}
