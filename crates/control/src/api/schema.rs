//! The schema of a thing: the properties of its kind, and `kind` itself.
//!
//! In: the schemas of the kinds.  Out: one of them.
//! Written by hand: derived, a kind that knows no other properties would be combined with one that has only `kind`, and nothing fits both.
//! Never here: other schemas (they are derived).
//! Start at [`variant`].

use domain::SdkConnection;
use experiment::layer::Layer;
use experiment::program::{Flag, Holdout};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::{Person, ProjectPolicy, SavedGroup, Thing};

/// The schema of a kind with `kind` among its properties.
fn variant<T: PartialSchema>(kind: &str) -> RefOr<Schema> {
    let RefOr::T(Schema::Object(mut object)) = T::schema() else { return T::schema() };
    let kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([kind])).build();
    object.properties.insert("kind".to_owned(), kind.into());
    object.required.push("kind".to_owned());
    RefOr::T(Schema::Object(object))
}

impl PartialSchema for Thing {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new()
            .item(variant::<Layer>("layer"))
            .item(variant::<Holdout>("holdout"))
            .item(variant::<Flag>("flag"))
            .item(variant::<SavedGroup>("group"))
            .item(variant::<SdkConnection>("connection"))
            .item(variant::<Person>("person"))
            .item(variant::<ProjectPolicy>("policy"))
            .into()
    }
}

impl ToSchema for Thing {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Layer::schemas(schemas);
        Holdout::schemas(schemas);
        Flag::schemas(schemas);
        SavedGroup::schemas(schemas);
        SdkConnection::schemas(schemas);
        Person::schemas(schemas);
        ProjectPolicy::schemas(schemas);
    }
}
