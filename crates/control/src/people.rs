//! Who may do what: people, roles, and the matrix of permissions.
//!
//! In: an [`Actor`].  Out: whether he may.
//! Never here: how somebody proves who he is (see `tokens`).
//! Start at [`Actor::require`]; the matrix is [`Permission::least`].

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::ControlError;

/// What somebody is trusted with; each role may do what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads the audit log, adds exploratory metrics.
    Analyst,
    /// Makes, edits, starts, pauses, stops and decides experiments, without help.
    Experimenter,
    /// Agrees to experiments of others.
    Approver,
    /// People, tokens of others, connections, holdouts, policies.
    Admin,
}

/// One thing that somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    Read,
    ReadAudit,
    AddExploratoryMetric,
    EditExperiment,
    DeleteOwnExperiment,
    DeleteExperiment,
    RunExperiment,
    DecideExperiment,
    ApproveExperiment,
    ForceVariant,
    EditFlag,
    DeleteFlag,
    EditGroup,
    DeleteGroup,
    EditLayer,
    DeleteLayer,
    EditHoldout,
    EditConnection,
    EditPolicy,
    EditPeople,
    OwnTokens,
    OthersTokens,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 22] = [
        Self::Read,
        Self::ReadAudit,
        Self::AddExploratoryMetric,
        Self::EditExperiment,
        Self::DeleteOwnExperiment,
        Self::DeleteExperiment,
        Self::RunExperiment,
        Self::DecideExperiment,
        Self::ApproveExperiment,
        Self::ForceVariant,
        Self::EditFlag,
        Self::DeleteFlag,
        Self::EditGroup,
        Self::DeleteGroup,
        Self::EditLayer,
        Self::DeleteLayer,
        Self::EditHoldout,
        Self::EditConnection,
        Self::EditPolicy,
        Self::EditPeople,
        Self::OwnTokens,
        Self::OthersTokens,
    ];

    /// The matrix: the least role that may. Making and editing is apart from deleting, writing apart from approving (which also asks that
    /// the approver is not the author: `experiment::lifecycle`).
    pub fn least(self) -> Role {
        match self {
            Self::Read | Self::OwnTokens => Role::Viewer,
            Self::ReadAudit | Self::AddExploratoryMetric => Role::Analyst,
            Self::EditExperiment
            | Self::DeleteOwnExperiment
            | Self::RunExperiment
            | Self::DecideExperiment
            | Self::ForceVariant
            | Self::EditFlag
            | Self::EditGroup
            | Self::EditLayer => Role::Experimenter,
            Self::ApproveExperiment
            | Self::DeleteExperiment
            | Self::DeleteFlag
            | Self::DeleteGroup
            | Self::DeleteLayer => Role::Approver,
            Self::EditHoldout | Self::EditConnection | Self::EditPolicy | Self::EditPeople | Self::OthersTokens => {
                Role::Admin
            }
        }
    }

    /// The words of an error.
    pub fn words(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadAudit => "read the audit log",
            Self::AddExploratoryMetric => "add exploratory metrics",
            Self::EditExperiment => "make or edit experiments",
            Self::DeleteOwnExperiment => "delete own experiments",
            Self::DeleteExperiment => "delete experiments of others",
            Self::RunExperiment => "start, ramp, pause or stop experiments",
            Self::DecideExperiment => "decide experiments",
            Self::ApproveExperiment => "approve experiments",
            Self::ForceVariant => "force variants",
            Self::EditFlag => "make or edit flags",
            Self::DeleteFlag => "delete flags",
            Self::EditGroup => "make or edit groups",
            Self::DeleteGroup => "delete groups",
            Self::EditLayer => "make or edit layers",
            Self::DeleteLayer => "delete layers",
            Self::EditHoldout => "change holdouts",
            Self::EditConnection => "change connections",
            Self::EditPolicy => "change approval policies",
            Self::EditPeople => "change people",
            Self::OwnTokens => "make tokens",
            Self::OthersTokens => "change tokens of others",
        }
    }
}

impl Role {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Experimenter => "experimenter",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

/// The projects in which a role holds. In JSON `"all"`, or a list of names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Projects {
    #[default]
    All,
    #[serde(untagged)]
    Only(Vec<String>),
}

impl Projects {
    /// Whether a project is among them.
    pub fn hold(&self, project: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| name == project),
        }
    }

    /// Those that are in both.
    pub(crate) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, either) | (either, Self::All) => either.clone(),
            (Self::Only(one), Self::Only(_)) => {
                Self::Only(one.iter().filter(|name| other.hold(name)).cloned().collect())
            }
        }
    }
}

/// Through which door somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    Api,
    Cli,
    Console,
    /// A rule that acts by itself: a schedule, a guard.
    Rule,
}

impl Via {
    /// The word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Console => "console",
            Self::Rule => "rule",
        }
    }
}

/// Somebody who has proved who he is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Actor {
    /// His name among the people.
    pub person: String,
    pub role: Role,
    pub projects: Projects,
    pub via: Via,
    /// When the token ends that proves it; `null`: never. Nothing that is made with it lasts longer.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

impl Actor {
    /// Errors: `Forbidden` names the role that may; `OtherProject` the project that is not his.
    pub fn require(&self, permission: Permission, project: Option<&str>) -> Result<(), ControlError> {
        let needed = permission.least();
        if self.role < needed {
            return Err(ControlError::Forbidden {
                person: self.person.clone(),
                role: self.role,
                what: permission.words(),
                needed,
            });
        }
        match project {
            Some(project) if !self.projects.hold(project) => Err(ControlError::OtherProject {
                person: self.person.clone(),
                what: permission.words(),
                project: project.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// For what belongs to no project and changes all of them.
    pub(crate) fn require_everywhere(&self, permission: Permission) -> Result<(), ControlError> {
        self.require(permission, None)?;
        match self.projects {
            Projects::All => Ok(()),
            Projects::Only(_) => {
                Err(ControlError::NotEverywhere { person: self.person.clone(), what: permission.words() })
            }
        }
    }
}

/// Somebody who may act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// A name or an address; stands in the audit log.
    pub name: String,
    pub role: Role,
    #[serde(default)]
    pub projects: Projects,
    /// While false, none of his tokens works.
    #[serde(default = "yes")]
    pub active: bool,
}

fn yes() -> bool {
    true
}
