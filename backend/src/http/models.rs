//! `/v1/models`.

use axum::Json;
use axum::extract::{Path, State};
use hearth_shared::api::models::Model;
use hearth_shared::api::{Deleted, ErrorBody, List};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::{Error, Result};

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(retrieve, delete))
}

/// All models that can be asked.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = List<Model>)))]
async fn list(State(app): State<App>) -> Result<Json<List<Model>>> {
    let mut models = Vec::new();
    for entry in app.registry.list().await? {
        let loaded = app.registry.location(&entry).is_ok_and(|location| app.serving.stats.is_loaded(&location));
        models.push(app.registry.object(&entry, loaded));
    }
    Ok(Json(List::new(models, false, |model| model.id.clone())))
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{*id}", tag = "models",
    params(("id" = String, Path, description = "May hold `/` and `:`")),
    responses((status = 200, body = Model), (status = 404, body = ErrorBody)))]
async fn retrieve(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Model>> {
    let entry = app.registry.find(&id).await?;
    let loaded = app.registry.location(&entry).is_ok_and(|location| app.serving.stats.is_loaded(&location));
    Ok(Json(app.registry.object(&entry, loaded)))
}

/// Removes a model and, if nothing else needs them, its files.
#[utoipa::path(delete, path = "/v1/models/{*id}", tag = "models",
    params(("id" = String, Path, description = "May hold `/` and `:`")),
    responses((status = 200, body = Deleted), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn delete(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Deleted>> {
    let entry = app.registry.find(&id).await?;
    let jobs = app.jobs.using_model(&entry.hash).await?;
    if !jobs.is_empty() {
        let message = format!("`{id}` is being tuned by {}; cancel that first.", jobs.join(", "));
        return Err(Error::Conflict { message, code: "model_in_use" });
    }
    let location = app.registry.location(&entry);
    match app.registry.remove(&id).await? {
        None => return Err(Error::model_not_found(&id)),
        Some(Err(tuned)) => {
            let message = format!("`{id}` is the base of {}; delete those first.", tuned.join(", "));
            return Err(Error::Conflict { message, code: "model_in_use" });
        }
        Some(Ok(())) => {}
    }
    if let Ok(location) = location {
        app.serving.forget(location).await;
    }
    Ok(Json(Deleted { id, object: "model".into(), deleted: true }))
}
