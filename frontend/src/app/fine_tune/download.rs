//! Handing files to the browser: a tuned model's adapter (the two files that PEFT reads), results, what a lab found.

use hearth_shared::api::models::Model;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

use crate::app::client::{self, ClientError};
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

/// A link that is clicked once: the only way a page may name a download whose request carries a key.
pub fn save(blob: &web_sys::Blob, name: &str) {
    let Ok(url) = web_sys::Url::create_object_url_with_blob(blob) else {
        return;
    };
    let link = document().create_element("a").ok().and_then(|link| link.dyn_into::<web_sys::HtmlAnchorElement>().ok());
    if let Some(link) = link {
        link.set_href(&url);
        link.set_download(name);
        link.click();
    }
    let _ = web_sys::Url::revoke_object_url(&url);
}
