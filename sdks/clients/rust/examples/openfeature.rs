//! OpenFeature's Rust provider in a few lines: part of docs/how-to/use-an-existing-sdk.md, and run with it.
//!
//! In: `MONTAUK_URL`.  Out: two flags.
//! Start at [`main`].

use open_feature::{EvaluationContext, provider::FeatureProvider};
use open_feature_ofrep::{OfrepOptions, OfrepProvider};

#[tokio::main]
async fn main() {
    let headers = [(http::header::AUTHORIZATION, "Bearer sdk-plain".parse().unwrap())].into_iter().collect();
    let base_url = std::env::var("MONTAUK_URL").unwrap();
    let flags = OfrepProvider::new(OfrepOptions { base_url, headers, ..OfrepOptions::default() }).await.unwrap();
    let unit = EvaluationContext::default().with_targeting_key("unit-1");
    println!(
        "{} {}",
        flags.resolve_bool_value("search", &unit).await.unwrap().value,
        flags.resolve_string_value("motd", &unit).await.unwrap().value
    );
}
