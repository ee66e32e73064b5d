//! Saving what a run left: a tuned model's adapter (the two files that PEFT reads), a result file.

use hearth_shared::api::models::Model;

use crate::app::client::{self, ClientError};
use crate::app::download::save;
use crate::app::store::file_url;

/// What PEFT calls them.
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// Hands both files to the browser's downloads.
pub async fn adapter(model: &Model) -> Result<(), ClientError> {
    for name in ADAPTER {
        let blob = client::get_blob(&file_url(&model.hearth.hash, name)).await?;
        save(&blob, name);
    }
    Ok(())
}

/// Hands a result file to the browser's downloads.
pub async fn file(id: &str, name: &str) -> Result<(), ClientError> {
    let blob = client::get_blob(&format!("/v1/files/{id}/content")).await?;
    save(&blob, name);
    Ok(())
}
