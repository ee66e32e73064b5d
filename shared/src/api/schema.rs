//! OpenAPI schemas that cannot be derived.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::RefOr;
use utoipa::{PartialSchema, ToSchema};

use crate::spec::Auto;

/// A value of the inner type, or the word `auto`.
impl<T: PartialSchema> PartialSchema for Auto<T> {
    fn schema() -> RefOr<Schema> {
        let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["auto"])).build();
        OneOfBuilder::new().item(T::schema()).item(word).build().into()
    }
}

impl<T: ToSchema> ToSchema for Auto<T> {
    fn name() -> Cow<'static, str> {
        format!("Auto_{}", T::name()).into()
    }
}
