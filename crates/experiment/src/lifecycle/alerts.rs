//! Who watches an experiment is told what cannot wait at once, and the rest once a day at most.
//!
//! In: a [`Course`], what its results say, what was done, the alerts before.  Out: new [`Alert`]s: codes with figures, no prose.
//! Never here: words for people, sending.
//! Start at [`alerts`].

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::watch::{Due, Obstacle};
use super::{Course, State, Verb};
use crate::decision::{Code, DEFAULT_LEAST_DAYS, LEAST_CONVERSIONS, Reason, SILENT_HOURS};

/// What rules have done since is told, if it was not.
pub const TOLD_FOR: TimeDelta = TimeDelta::days(7);

/// What lasts is not said again sooner.
const AGAIN_AFTER: TimeDelta = TimeDelta::hours(24);

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub at: DateTime<Utc>,
    pub experiment: String,
    pub phase: u32,
    #[serde(flatten)]
    pub what: What,
}

/// What is to be known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "alert", rename_all = "snake_case")]
pub enum What {
    /// A rule has done something; `revision` is its number in the audit log.
    Done { verb: Verb, reason: String, revision: u64 },
    /// Something has to be mended before any effect is read.
    Health { reason: Reason },
    /// A guardrail is worse than its margin, and nothing stops the experiment by itself.
    Harm { metric: String, arm: String },
    /// What was due was refused, or could not be computed; the code of the error.
    Failed { code: String, detail: String },
    /// What can wait for a day.
    Digest {
        days_running: f64,
        /// `ship` or `no_difference`; `null` while there is nothing to decide.
        verdict: Option<Code>,
        significant: Vec<Effect>,
        /// Codes of what a start or a step of the ramp waits for.
        waits_for: Vec<String>,
    },
}

/// A goal that is better or worse in an arm; relative to control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub metric: String,
    pub arm: String,
    pub effect: f64,
    pub is_better: bool,
}

/// What happened at this look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look<'a> {
    pub evidence: Option<&'a Evidence>,
    pub due: Option<&'a Due>,
    /// Code and sentence of what went wrong.
    pub failure: Option<(&'a str, &'a str)>,
    /// Verb, reason and number of what rules have done and nobody was told of.
    pub done: &'a [(Verb, String, u64)],
}

/// From when on acts of rules are those of this phase and still worth telling; `None` before its first start, when there are none.
pub fn acts_from(course: &Course, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    course.spans.first().map(|first| first.from.max(now - TOLD_FOR))
}

/// What is new to tell. `course`: as it stands after what was done. `earlier`: alerts of this experiment, of the last day at least.
///
/// At once: what was done, harm, and what has to be mended; the same again after a day. Of missing data not before 24 h of running, since
/// tables are filled by night. Of effects not before a week (or the least runtime, if that is longer) with 100 units in every arm.
pub fn alerts(course: &Course, look: Look<'_>, earlier: &[Alert], now: DateTime<Utc>) -> Vec<Alert> {
    let mut found: Vec<What> = Vec::new();
    let done = look.done.iter().map(|(verb, reason, revision)| (*verb, reason.clone(), *revision));
    found.extend(done.map(|(verb, reason, revision)| What::Done { verb, reason, revision }));
    if let Some((code, detail)) = look.failure {
        found.push(What::Failed { code: code.to_owned(), detail: detail.to_owned() });
    }
    let is_old_enough = course.days_running(now) * 24.0 >= SILENT_HOURS;
    if let Some(evidence) = look.evidence {
        let ailments = evidence.ailments.iter().filter(|reason| is_old_enough || !is_of_missing_data(reason));
        found.extend(ailments.map(|reason| What::Health { reason: reason.clone() }));
        // What was stopped is told as done.
        if course.state == State::Running {
            let harmed = evidence.harmed.iter();
            found.extend(harmed.map(|harm| What::Harm { metric: harm.metric.clone(), arm: harm.arm.clone() }));
        }
    }
    found.extend(digest(course, look, now));
    let alert = |what| Alert { at: now, experiment: course.key().to_owned(), phase: course.assignment.phase, what };
    found.into_iter().map(alert).filter(|alert| earlier.iter().all(|before| !alert.repeats(before))).collect()
}

fn is_of_missing_data(reason: &Reason) -> bool {
    match reason {
        Reason::NoExposure { .. } | Reason::Stale { .. } | Reason::JoinRate { .. } | Reason::MissingMetric { .. } => {
            true
        }
        Reason::SampleRatio { .. }
        | Reason::SequentialSampleRatio { .. }
        | Reason::Leak { .. }
        | Reason::MultipleExposure { .. }
        | Reason::PreExposureBias { .. }
        | Reason::Guardrail { .. }
        | Reason::Goal { .. }
        | Reason::Flat
        | Reason::InsideMde { .. }
        | Reason::GuardrailInconclusive { .. }
        | Reason::Underpowered { .. }
        | Reason::TooEarly => false,
    }
}

/// Nothing where there is nothing to say.
fn digest(course: &Course, look: Look<'_>, now: DateTime<Utc>) -> Option<What> {
    let days_running = course.days_running(now);
    let least_days = DEFAULT_LEAST_DAYS.max(f64::from(course.analysis.min_days));
    let readable = look.evidence.filter(|found| days_running >= least_days && found.fewest_units >= LEAST_CONVERSIONS);
    let effects = readable.iter().flat_map(|found| &found.significant).map(|goal| Effect {
        metric: goal.metric.clone(),
        arm: goal.arm.clone(),
        effect: goal.effect,
        is_better: goal.is_better,
    });
    let verdict = readable.and_then(|found| found.verdict.as_ref()).map(|verdict| verdict.code);
    let verdict = verdict.filter(|code| matches!(code, Code::Ship | Code::RollBack | Code::NoDifference));
    let held = match look.due {
        Some(Due::Hold { because, .. }) => because.as_slice(),
        Some(Due::Start | Due::Ramp { .. } | Due::Stop { .. }) | None => &[],
    };
    // Results that were not due are no news.
    let waits = held.iter().filter(|obstacle| **obstacle != Obstacle::NoResults);
    let (significant, mut waits_for) = (effects.collect::<Vec<_>>(), waits.map(code_of).collect::<Vec<_>>());
    waits_for.dedup();
    let is_empty = verdict.is_none() && significant.is_empty() && waits_for.is_empty();
    (!is_empty).then_some(What::Digest { days_running, verdict, significant, waits_for })
}

/// The word that the obstacle has in JSON.
fn code_of(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::NotApproved { .. } => "not_approved",
        Obstacle::NoResults => "no_results",
        Obstacle::NoExposure => "no_exposure",
        Obstacle::NoDataSince { .. } => "no_data_since",
        Obstacle::Health { .. } => "health",
        Obstacle::Undecidable => "undecidable",
        Obstacle::Guardrail { .. } => "guardrail",
        Obstacle::Goal { .. } => "goal",
        Obstacle::TooFewUnits { .. } => "too_few_units",
    }
    .to_owned()
}

impl Alert {
    /// Whether the same was said within the last day; of what was done, ever.
    fn repeats(&self, before: &Self) -> bool {
        if self.experiment != before.experiment {
            return false;
        }
        // An act has a number of its own, whichever phase it was told in.
        if let (What::Done { revision: one, .. }, What::Done { revision: other, .. }) = (&self.what, &before.what) {
            return one == other;
        }
        let is_recent = before.at <= self.at && self.at - before.at < AGAIN_AFTER;
        self.phase == before.phase
            && match (&self.what, &before.what) {
                (What::Health { reason: one }, What::Health { reason: other }) => {
                    is_recent && subject(one) == subject(other)
                }
                (What::Failed { code: one, .. }, What::Failed { code: other, .. }) => is_recent && one == other,
                // A digest belongs to its day: refreshed daily, a minute sooner than yesterday, it is another one.
                (What::Digest { .. }, What::Digest { .. }) => self.at.date_naive() == before.at.date_naive(),
                (one, other) => is_recent && one == other,
            }
    }
}

/// What a reason is about, without the figures, which move from look to look.
fn subject(reason: &Reason) -> (std::mem::Discriminant<Reason>, &str) {
    let of = match reason {
        Reason::PreExposureBias { covariate, .. } => covariate,
        Reason::MissingMetric { metric }
        | Reason::Guardrail { metric }
        | Reason::Goal { metric }
        | Reason::GuardrailInconclusive { metric } => metric,
        Reason::SampleRatio { .. }
        | Reason::SequentialSampleRatio { .. }
        | Reason::Leak { .. }
        | Reason::MultipleExposure { .. }
        | Reason::JoinRate { .. }
        | Reason::Stale { .. }
        | Reason::NoExposure { .. }
        | Reason::Flat
        | Reason::InsideMde { .. }
        | Reason::Underpowered { .. }
        | Reason::TooEarly => "",
    };
    (std::mem::discriminant(reason), of)
}
