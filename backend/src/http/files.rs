//! `/v1/files`. Uploads go to disk as they come; memory holds one chunk.

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, Multipart, Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use hearth_shared::api::files::FileObject;
use hearth_shared::api::{Deleted, ErrorBody, List};
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Params;
use crate::app::App;
use crate::error::{Error, Result};
use crate::files::{FileFilter, Upload};

/// Purposes of OpenAI's that Hearth does not serve yet.
const OTHER_PURPOSES: [&str; 5] = ["assistants", "batch", "vision", "user_data", "evals"];

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(retrieve, delete))
        .routes(routes!(content))
        // The upload counts its own bytes, against the configured limit.
        .layer(DefaultBodyLimit::disable())
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    purpose: Option<String>,
    after: Option<String>,
    /// 1 to 10,000; 10,000 if absent.
    limit: Option<u32>,
    /// By creation: `desc` (if absent) or `asc`.
    order: Option<String>,
}

/// Files, newest first.
#[utoipa::path(get, path = "/v1/files", tag = "files", params(Wanted), responses((status = 200, body = List<FileObject>)))]
async fn list(State(app): State<App>, Params(wanted): Params<Wanted>) -> Result<Json<List<FileObject>>> {
    let limit = wanted.limit.unwrap_or(10_000);
    if !(1..=10_000).contains(&limit) {
        return Err(Error::invalid("limit", format!("{limit} is not between 1 and 10000")));
    }
    let ascending = match wanted.order.as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(other) => {
            return Err(Error::invalid("order", format!("`{other}` is neither `asc` nor `desc`")));
        }
    };
    let filter = FileFilter { purpose: wanted.purpose, after: wanted.after, limit, ascending };
    let (files, more) = app.files.list(&filter).await?;
    Ok(Json(List::new(files, more, |file| file.id.clone())))
}

#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "stands for the form in the schema")]
struct UploadForm {
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// `fine-tune`
    purpose: String,
}

/// Uploads a file.
#[utoipa::path(post, path = "/v1/files", tag = "files",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 200, body = FileObject), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody)))]
async fn create(State(app): State<App>, mut form: Multipart) -> Result<Json<FileObject>> {
    let mut purpose = None;
    let mut file: Option<(Upload, String)> = None;
    while let Some(field) = form.next_field().await.map_err(broken)? {
        match field.name().unwrap_or_default() {
            "purpose" => purpose = Some(checked_purpose(&short_text(field).await?)?),
            "file" => {
                let name = plain_name(field.file_name().unwrap_or("upload"));
                file = Some((receive(&app, field).await?, name));
            }
            name if name.starts_with("expires_after") => {
                return Err(Error::coded(
                    "expires_after",
                    "unsupported_parameter",
                    "`expires_after` is not supported yet.",
                ));
            }
            _ => {}
        }
    }
    let (upload, name) = file.ok_or_else(|| Error::invalid("file", "'file' is a required property"))?;
    let purpose = purpose.ok_or_else(|| Error::invalid("purpose", "'purpose' is a required property"))?;
    Ok(Json(upload.finish(&name, &purpose).await?))
}

async fn receive(app: &App, mut field: Field<'_>) -> Result<Upload> {
    let mut upload = app.files.begin().await?;
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        upload.write(&chunk).await?;
    }
    Ok(upload)
}

async fn short_text(mut field: Field<'_>) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > 1000 {
            return Err(Error::invalid("purpose", "the value is too long"));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn checked_purpose(purpose: &str) -> Result<String> {
    match purpose {
        "fine-tune" => Ok(purpose.to_owned()),
        other if OTHER_PURPOSES.contains(&other) => Err(Error::coded(
            "purpose",
            "unsupported_parameter",
            format!("Purpose `{other}` is not supported yet; use `fine-tune`."),
        )),
        other => Err(Error::invalid("purpose", format!("'{other}' is not one of ['fine-tune']"))),
    }
}

/// The name is shown, never used as a path; still, only its last part is kept.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control() && *c != '"').take(200).collect();
    if name.is_empty() { "upload".into() } else { name }
}

fn broken(error: MultipartError) -> Error {
    Error::Invalid {
        message: format!("The form cannot be read: {}", error.body_text()),
        param: None,
        code: Some("invalid_body"),
    }
}

/// What is known of a file.
#[utoipa::path(get, path = "/v1/files/{id}", tag = "files", params(("id" = String, Path)),
    responses((status = 200, body = FileObject), (status = 404, body = ErrorBody)))]
async fn retrieve(State(app): State<App>, Path(id): Path<String>) -> Result<Json<FileObject>> {
    Ok(Json(app.files.get(&id).await?))
}

/// A file's bytes.
#[utoipa::path(get, path = "/v1/files/{id}/content", tag = "files", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = String), (status = 404, body = ErrorBody)))]
async fn content(State(app): State<App>, Path(id): Path<String>) -> Result<Response> {
    let object = app.files.get(&id).await?;
    let path = app.files.path(&id).ok_or_else(|| Error::file_not_found(&id))?;
    let file = tokio::fs::File::open(path).await?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, object.bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", ascii(&object.filename))),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

fn ascii(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect()
}

/// Deletes a file.
#[utoipa::path(delete, path = "/v1/files/{id}", tag = "files", params(("id" = String, Path)),
    responses((status = 200, body = Deleted), (status = 404, body = ErrorBody)))]
async fn delete(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Deleted>> {
    app.files.delete(&id).await?;
    Ok(Json(Deleted { id, object: "file".into(), deleted: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_last_part_only() {
        assert_eq!(plain_name("../../etc/passwd"), "passwd");
        assert_eq!(plain_name("a\\b\\c\"d.jsonl"), "cd.jsonl");
        assert_eq!(plain_name(""), "upload");
    }
}
