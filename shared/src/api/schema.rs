//! OpenAPI schemas that cannot be derived.

use std::borrow::Cow;

use utoipa::__dev::ComposeSchema;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};

use crate::spec::Auto;

/// A value of the inner type, or the word `auto`.
impl<T: ComposeSchema> ComposeSchema for Auto<T> {
    fn compose(_: Vec<RefOr<Schema>>) -> RefOr<Schema> {
        let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["auto"])).build();
        let either = OneOfBuilder::new().item(T::compose(Vec::new())).item(word).build();
        RefOr::T(Schema::OneOf(either))
    }
}

impl<T: ToSchema + ComposeSchema> ToSchema for Auto<T> {
    fn name() -> Cow<'static, str> {
        format!("Auto_{}", T::name()).into()
    }
}
