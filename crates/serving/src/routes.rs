//! The routes of this room: unpack, call, convert.
//!
//! In: ids in the path, `limit`, `explain`, `filter` and `profile.<column>`.  Out: JSON bytes, or a problem.
//! Never here: ranking, files, status codes.
//! Start at [`Service::routes`].

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::{ItemId, UserId};
use http_server::ProblemResponse;
use recommend::exploration_seed;

use crate::query::ListQuery;
use crate::service::ListRoute;
use crate::{Service, ServingError, answer};

/// Multiply-adds above which a list is computed on a blocking thread. Measured by `cargo bench -p edge` over 4,000 items on
/// a quiet 2-core machine: EASE takes 14 µs for a history of 20 items, 116 µs for 250 (a million), 320 µs for 1,000; iALS with
/// 64 factors 60 to 200 µs up to 250; handing over and back 6 µs. So ordinary histories stay here, and nothing far beyond half of the 500 µs that the house
/// allows on an async thread.
const MAX_INLINE_COST: usize = 2_000_000;

type Pairs = Query<Vec<(String, String)>>;

impl Service {
    /// `GET /v1/users/{user_id}/recommendations`, `GET /v1/users/{user_id}/why-not/{item_id}`,
    /// `GET /v1/items/{item_id}/similar`, and those of `flags`.
    pub fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/users/{user_id}/recommendations", get(list_recommendations))
            .route("/v1/users/{user_id}/why-not/{item_id}", get(show_why_not))
            .route("/v1/items/{item_id}/similar", get(list_similar))
            .with_state(Arc::clone(self))
            .merge(crate::flags::routes(&self.flags))
    }
}

/// `GET /v1/users/{user_id}/recommendations?limit=10&explain=true&filter=price < 10&profile.country=Germany` — best items first.
async fn list_recommendations(
    State(service): State<Arc<Service>>,
    Path(user_id): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, ProblemResponse> {
    let user = UserId::try_from(user_id).map_err(ServingError::from)?;
    let query = ListQuery { seed: Some(seed_of_today(&user)), ..ListQuery::parse(&pairs)? };
    let snapshot = service.snapshot()?;
    let cost = snapshot.cost(&user);
    let (body, source, reason) = compute(&service, cost, move || {
        let list = snapshot.recommend(&user, &query)?;
        Ok::<_, ServingError>((answer::for_user(&snapshot, &user, &list, &query), list.0.source, list.1))
    })
    .await??;
    service.count_list(ListRoute::Recommendations, source, reason);
    Ok(json(body))
}

/// `GET /v1/users/{user_id}/why-not/{item_id}?limit=10&filter=…` — what became of an item in that list.
async fn show_why_not(
    State(service): State<Arc<Service>>,
    Path((user_id, item_id)): Path<(String, String)>,
    Query(pairs): Pairs,
) -> Result<Response, ProblemResponse> {
    let user = UserId::try_from(user_id).map_err(ServingError::from)?;
    let item = ItemId::try_from(item_id).map_err(ServingError::from)?;
    let query = ListQuery { seed: Some(seed_of_today(&user)), ..ListQuery::parse(&pairs)? };
    let snapshot = service.snapshot()?;
    // The list, its scores, and the list without caps.
    let cost = snapshot.cost(&user).saturating_mul(3);
    let body = compute(&service, cost, move || {
        snapshot.why_not(&user, &item, &query).map(|why| answer::for_why_not(&snapshot, &user, &item, why))
    })
    .await??;
    Ok(json(body))
}

/// `GET /v1/items/{item_id}/similar?limit=10` — most alike first.
async fn list_similar(
    State(service): State<Arc<Service>>,
    Path(item_id): Path<String>,
    Query(pairs): Pairs,
) -> Result<Response, ProblemResponse> {
    let item = ItemId::try_from(item_id).map_err(ServingError::from)?;
    let query = ListQuery::parse(&pairs)?;
    let snapshot = service.snapshot()?;
    let cost = snapshot.similar_cost();
    let (body, source, reason) = compute(&service, cost, move || {
        let list = snapshot.similar(&item, &query)?;
        Ok::<_, ServingError>((answer::for_item(&snapshot, &item, &list, &query), list.0.source, list.1))
    })
    .await??;
    service.count_list(ListRoute::Similar, source, reason);
    Ok(json(body))
}

/// Exploration gives a user the same list for a day (UTC), whichever server answers. A clock before 1970 counts as 1970.
fn seed_of_today(user: &UserId) -> u64 {
    const SECONDS_PER_DAY: u64 = 86_400;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    exploration_seed(user, (since.as_secs() / SECONDS_PER_DAY) as i64)
}

/// Runs `work` here when it is short, else on a blocking thread, of which no more are busy than there are cores: more
/// would not be faster, and each keeps megabytes of scratch memory (32 of them held 230 MB, measured).
async fn compute<T: Send + 'static>(
    service: &Service,
    cost: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServingError> {
    if cost <= MAX_INLINE_COST {
        return Ok(work());
    }
    let turn = service.long_work().await?;
    let working = tokio::task::spawn_blocking(move || {
        // Given back when the work ends, also when the client has left before.
        let _turn = turn;
        work()
    });
    working.await.map_err(|error| ServingError::thread(&error))
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
