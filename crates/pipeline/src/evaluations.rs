//! Evaluations that were kept, and what they say of an artefact's recommender.
//!
//! In: the directory `reports/`, an artefact's header.  Out: the newest evaluation first; figures to keep with a promotion.
//! Never here: measuring (`recommend`), deciding (`steps::evaluate`, `steps::rec`).
//! Start at [`newest_first`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::Provenance;
use recommend::{ArtefactHeader, EvaluationReport, PromotionDecision, Repeats, Window, guard_metric};

use crate::PipelineError;
use crate::artefacts::directory_names;

/// Version of the kept report; raise it when an older one would be misread.
pub(crate) const REPORT_FORMAT_VERSION: u32 = 2;

/// Older evaluations are not looked through: a year of weekly ones is enough, and each is some hundred kilobytes to parse.
const MAX_READ: usize = 60;

/// What is kept of an evaluation: `reports/evaluation-<identity>.json`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Measured {
    pub(crate) evaluation: EvaluationReport,
    /// The recommender with the best ndcg on the validation window, and whether it may go live.
    pub(crate) best: String,
    pub(crate) decision: PromotionDecision,
    pub(crate) provenance: Provenance,
}

impl Measured {
    /// The name under which the recommender of an artefact was measured: of the same kind and parameters, if possible as `wanted`.
    pub(crate) fn name_of(&self, header: &ArtefactHeader, wanted: &str) -> Option<&str> {
        let same = self
            .evaluation
            .recommenders
            .iter()
            .filter(|measured| (measured.kind, &measured.parameters) == (header.kind, &header.parameters));
        let mut names = same.map(|measured| measured.name.as_str());
        let first = names.next()?;
        Some(if first == wanted { first } else { names.find(|name| *name == wanted).unwrap_or(first) })
    }

    /// Whether it was made on the data that the artefact was trained from.
    pub(crate) fn is_on_data_of(&self, header: &ArtefactHeader) -> bool {
        let inputs = &self.provenance.inputs;
        header.provenance.inputs.iter().all(|(table, content)| inputs.get(table) == Some(content))
    }

    /// The figures that people ask for first, by the lists that this recommender makes: `validation.ndcg@100`, `test.recall@20`, ….
    pub(crate) fn main_figures(&self, name: &str) -> BTreeMap<String, f64> {
        let evaluation = &self.evaluation;
        let filter_seen = evaluation.recommenders.iter().find(|measured| measured.name == name);
        let repeats = Repeats::of(filter_seen.is_none_or(|measured| measured.filter_seen));
        let guard = guard_metric();
        let wanted = [
            (Window::Validation, "validation", vec![guard.as_str()]),
            (Window::Test, "test", vec![guard.as_str(), "recall@20", "ndcg@10", "coverage@10"]),
        ];
        let mut figures = BTreeMap::new();
        for (window, word, metrics) in wanted {
            let Some(result) = evaluation.window(window, repeats).and_then(|window| window.recommender(name)) else {
                continue;
            };
            for metric in metrics {
                let value = result.metrics.get(metric).map(|estimate| estimate.value);
                let value = value.or_else(|| result.list_metrics.get(metric).copied());
                figures.extend(value.map(|value| (format!("{word}.{metric}"), value)));
            }
        }
        figures
    }
}

/// Evaluations of this version of the format, newest first.
pub(crate) fn newest_first(reports_dir: &Path) -> Result<Vec<Measured>, PipelineError> {
    let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
    for name in directory_names(reports_dir)? {
        let path = reports_dir.join(&name);
        if name.starts_with("evaluation-")
            && name.ends_with(".json")
            && let Ok(modified) = fs::metadata(&path).and_then(|metadata| metadata.modified())
        {
            files.push((modified, path));
        }
    }
    files.sort();
    let newest = files.iter().rev().take(MAX_READ);
    // One that cannot be read says nothing of anybody, as if it had not been made.
    let read = newest.filter_map(|(_, path)| serde_json::from_slice::<Measured>(&fs::read(path).ok()?).ok());
    let mut measured: Vec<Measured> =
        read.filter(|measured| measured.provenance.format_version == REPORT_FORMAT_VERSION).collect();
    // Run ids sort by time; the times of files do not survive every copy. The sort is stable.
    measured.sort_by(|one, other| other.provenance.run_id.cmp(&one.provenance.run_id));
    Ok(measured)
}

/// The figures of the newest evaluation that measured an artefact's recommender on its own data; none without one.
pub(crate) fn figures_of(
    evaluations: &[Measured],
    header: &ArtefactHeader,
    recommender: &str,
) -> BTreeMap<String, f64> {
    let on_its_data = evaluations.iter().filter(|measured| measured.is_on_data_of(header));
    let found = on_its_data.filter_map(|measured| Some((measured, measured.name_of(header, recommender)?))).next();
    found.map(|(measured, name)| measured.main_figures(name)).unwrap_or_default()
}
