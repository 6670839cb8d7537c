//! GrowthBook's Rust SDK in a few lines: part of docs/how-to/use-an-existing-sdk.md, and run with it.
//!
//! In: `MONTAUK_URL`.  Out: two flags.
//! Start at [`main`].

use growthbook_rust::client::{GrowthBookClient, GrowthBookClientTrait};
use growthbook_rust::model_public::GrowthBookAttribute;
use serde_json::json;

#[tokio::main]
async fn main() {
    let client = GrowthBookClient::new(&std::env::var("MONTAUK_URL").unwrap(), "sdk-plain", None, None).await.unwrap();
    let unit = GrowthBookAttribute::from(json!({ "id": "unit-1" })).unwrap();
    println!("{} {}", client.is_on("search", Some(unit)), client.feature_result("motd", None).value);
}
