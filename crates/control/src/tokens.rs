//! API tokens, and the first admin.
//!
//! In: `mtk_<id>_<secret>`.  Out: an [`Actor`].
//! Never here: passwords, sessions of browsers.
//! Start at [`Control::authenticate`].

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::control::{Control, check_key};
use crate::error::ControlError;
use crate::people::{Actor, Permission, Person, Projects, Role, Via};
use crate::secret::{hash, hex, is_equal, random};
use crate::store::{Change, Entry, View, json, snapshot};
use crate::things::{Kind, Stored, Thing, audit, stored};

/// So that a token is recognised where it does not belong, such as in a repository.
const PREFIX: &str = "mtk";
/// Tells tokens apart; no secret.
const ID_BYTES: usize = 8;
/// 256 bits: not to be guessed.
const SECRET_BYTES: usize = 32;
/// `last_used` is for people who look for tokens that nobody uses: a minute is exact enough, and reading stays reading.
const LAST_USED_STEP: TimeDelta = TimeDelta::minutes(1);

/// A token as the API shows it: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenRecord {
    pub id: String,
    /// Whose it is.
    pub person: String,
    /// What it is for.
    pub name: String,
    /// At most so much, and never more than the person's role.
    pub role: Role,
    /// At most these, and never more than the person's projects.
    pub projects: Projects,
    pub created_at: DateTime<Utc>,
    /// `null`: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// To the minute.
    #[serde(default)]
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What [`Control::create_token`] is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// For whom; for others only by admins.
    pub person: String,
    pub name: String,
    /// The person's if it is not given.
    #[serde(default)]
    pub role: Option<Role>,
    #[serde(default)]
    pub projects: Projects,
    /// Never later than the end of the token that makes it, which it has if none is given.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A new token. The secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IssuedToken {
    /// `mtk_<id>_<secret>`.
    pub token: String,
    pub record: TokenRecord,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("token", &"…").field("record", &self.record).finish()
    }
}

fn record(row: &sqlx::any::AnyRow) -> Result<TokenRecord, ControlError> {
    let (id, text, used): (String, String, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let record: TokenRecord =
        serde_json::from_str(&text).map_err(|source| ControlError::Document { kind: "token", key: id, source })?;
    let last_used_at = if used == 0 { None } else { DateTime::from_timestamp_micros(used) };
    Ok(TokenRecord { last_used_at, ..record })
}

async fn person(change: &mut View, name: &str) -> Result<Person, ControlError> {
    let absent = || ControlError::NotFound { kind: Kind::Person.name(), key: name.to_owned() };
    let document = change.find(Kind::Person, name).await?.ok_or_else(absent)?;
    if let Thing::Person(person) = stored(Kind::Person, &document)?.thing { Ok(person) } else { Err(absent()) }
}

/// Writes a new token and its audit row.
async fn issue(
    change: &mut Change,
    actor: &Actor,
    request: TokenRequest,
    role: Role,
    now: DateTime<Utc>,
) -> Result<IssuedToken, ControlError> {
    let id = hex(&random::<ID_BYTES>()?);
    let token = format!("{PREFIX}_{id}_{}", hex(&random::<SECRET_BYTES>()?));
    let record = TokenRecord {
        id: id.clone(),
        person: request.person,
        name: request.name,
        role,
        projects: request.projects,
        created_at: now,
        expires_at: request.expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    sqlx::query("INSERT INTO tokens (id, person, hash, last_used, document) VALUES ($1, $2, $3, 0, $4)")
        .bind(id.as_str())
        .bind(record.person.as_str())
        .bind(hash(&token))
        .bind(json(Kind::Token, &id, &record)?)
        .execute(&mut *change.transaction)
        .await?;
    let after = snapshot(Kind::Token, &id, &record)?;
    let entry = Entry { verb: "issue", kind: Kind::Token, key: &id, project: "", reason: "" };
    change.record(actor, now, entry, None, Some(&after)).await?;
    Ok(IssuedToken { token, record })
}

impl Control {
    /// Makes the first admin and a token for him; `None` when there are people already.
    pub async fn bootstrap(&self, name: &str, now: DateTime<Utc>) -> Result<Option<IssuedToken>, ControlError> {
        check_key("person", name)?;
        let mut change = self.store.begin().await?;
        if !change.list(Kind::Person).await?.is_empty() {
            return Ok(None);
        }
        let actor = Actor {
            person: name.to_owned(),
            role: Role::Admin,
            projects: Projects::All,
            via: Via::Cli,
            expires_at: None,
        };
        let admin = Person { name: name.to_owned(), role: Role::Admin, projects: Projects::All, active: true };
        let mut after = Stored { revision: 0, project: None, updated_at: now, thing: Thing::Person(admin) };
        after.revision = change.write(Kind::Person, name, &after).await?;
        let reason = "the first admin";
        let entry = Entry { verb: "create", kind: Kind::Person, key: name, project: "", reason };
        audit(&mut change, &actor, now, entry, (None, Some(&after))).await?;
        let request = TokenRequest {
            person: name.to_owned(),
            name: reason.to_owned(),
            role: None,
            projects: Projects::All,
            expires_at: None,
        };
        let issued = issue(&mut change, &actor, request, Role::Admin, now).await?;
        change.commit().await?;
        Ok(Some(issued))
    }

    /// Whose token it is, with the lesser of the token's and the person's rights. Errors: `Unauthenticated`, whatever is wrong with it.
    pub async fn authenticate(&self, token: &str, via: Via, now: DateTime<Utc>) -> Result<Actor, ControlError> {
        let id = token.strip_prefix("mtk_").and_then(|rest| rest.split('_').next()).unwrap_or_default();
        let row = sqlx::query("SELECT id, document, last_used, hash FROM tokens WHERE id = $1")
            .bind(id)
            .fetch_optional(self.store.pool())
            .await?;
        let row = row.ok_or(ControlError::Unauthenticated)?;
        let kept: String = row.try_get(3)?;
        let record = record(&row)?;
        let is_expired = record.expires_at.is_some_and(|at| at <= now);
        if !is_equal(&hash(token), &kept) || is_expired || record.revoked_at.is_some() {
            return Err(ControlError::Unauthenticated);
        }
        let document = self.store.find(Kind::Person, &record.person).await?.ok_or(ControlError::Unauthenticated)?;
        let Thing::Person(person) = stored(Kind::Person, &document)?.thing else {
            return Err(ControlError::Unauthenticated);
        };
        if !person.active {
            return Err(ControlError::Unauthenticated);
        }
        if record.last_used_at.is_none_or(|at| now - at >= LAST_USED_STEP) {
            sqlx::query("UPDATE tokens SET last_used = $1 WHERE id = $2")
                .bind(now.timestamp_micros())
                .bind(id)
                .execute(self.store.pool())
                .await?;
        }
        Ok(Actor {
            person: person.name,
            role: record.role.min(person.role),
            projects: record.projects.and(&person.projects),
            via,
            expires_at: record.expires_at,
        })
    }

    /// Makes a token. Errors: `Forbidden` for others' tokens; `Invalid`: more than the person may, or an end that is over.
    pub async fn create_token(
        &self,
        actor: &Actor,
        request: TokenRequest,
        now: DateTime<Utc>,
    ) -> Result<IssuedToken, ControlError> {
        if request.person == actor.person {
            actor.require(Permission::OwnTokens, None)?;
        } else {
            actor.require_everywhere(Permission::OthersTokens)?;
        }
        let mut change = self.store.begin().await?;
        let person = person(&mut change, &request.person).await?;
        // Nobody hands on more than he has, to himself or to others: neither rank nor time.
        let most = actor.role.min(person.role);
        let role = request.role.unwrap_or(most);
        if role > most {
            let problem = format!("the most is {}", most.name());
            return Err(ControlError::Invalid { field: "role", value: role.name().to_owned(), problem });
        }
        if let Some(at) = request.expires_at.filter(|at| *at <= now) {
            let problem = "write a time to come".to_owned();
            return Err(ControlError::Invalid { field: "expires_at", value: at.to_rfc3339(), problem });
        }
        if let (Some(at), Some(most)) = (request.expires_at, actor.expires_at)
            && at > most
        {
            let problem = format!("the token that makes it ends at {}; write no later time", most.to_rfc3339());
            return Err(ControlError::Invalid { field: "expires_at", value: at.to_rfc3339(), problem });
        }
        let expires_at = request.expires_at.or(actor.expires_at);
        // A token made with a token holds no more projects than that.
        let own = if request.person == actor.person { actor.projects.clone() } else { Projects::All };
        let request = TokenRequest { projects: request.projects.and(&own), expires_at, ..request };
        let issued = issue(&mut change, actor, request, role, now).await?;
        change.commit().await?;
        Ok(issued)
    }

    /// Tokens: one's own; an admin sees all.
    pub async fn tokens(&self, actor: &Actor) -> Result<Vec<TokenRecord>, ControlError> {
        actor.require(Permission::OwnTokens, None)?;
        let sees_all = actor.require_everywhere(Permission::OthersTokens).is_ok();
        let rows =
            sqlx::query("SELECT id, document, last_used FROM tokens ORDER BY id").fetch_all(self.store.pool()).await?;
        let mut tokens = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        tokens.retain(|token| sees_all || token.person == actor.person);
        tokens.sort_by_key(|token| token.created_at);
        Ok(tokens)
    }

    /// Ends a token. Doing it twice changes nothing. Errors: `NotFound`; `Forbidden` for others' tokens.
    pub async fn revoke_token(
        &self,
        actor: &Actor,
        id: &str,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<TokenRecord, ControlError> {
        let mut change = self.store.begin().await?;
        let row = sqlx::query("SELECT id, document, last_used FROM tokens WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *change.transaction)
            .await?;
        let absent = || ControlError::NotFound { kind: Kind::Token.name(), key: id.to_owned() };
        let before = record(&row.ok_or_else(absent)?)?;
        if before.person != actor.person {
            actor.require_everywhere(Permission::OthersTokens)?;
        }
        if before.revoked_at.is_some() {
            return Ok(before);
        }
        let after = TokenRecord { revoked_at: Some(now), ..before.clone() };
        sqlx::query("UPDATE tokens SET document = $1 WHERE id = $2")
            .bind(json(Kind::Token, id, &after)?)
            .bind(id)
            .execute(&mut *change.transaction)
            .await?;
        let (old, new) = (snapshot(Kind::Token, id, &before)?, snapshot(Kind::Token, id, &after)?);
        let entry = Entry { verb: "revoke", kind: Kind::Token, key: id, project: "", reason };
        change.record(actor, now, entry, Some(&old), Some(&new)).await?;
        change.commit().await?;
        Ok(after)
    }
}
