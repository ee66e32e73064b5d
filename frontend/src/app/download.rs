//! Handing files to the browser's downloads.

use js_sys::Array;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Blob, HtmlAnchorElement, Url};

/// Saves a file that the page holds.
pub fn save(blob: &Blob, name: &str) {
    let Ok(url) = Url::create_object_url_with_blob(blob) else {
        return;
    };
    save_url(&url, name);
    let _ = Url::revoke_object_url(&url);
}

/// A link that is clicked once: the only way a page may name a download whose request carries a key.
pub fn save_url(url: &str, name: &str) {
    let link = document().create_element("a").ok().and_then(|link| link.dyn_into::<HtmlAnchorElement>().ok());
    if let Some(link) = link {
        link.set_href(url);
        link.set_download(name);
        link.click();
    }
}

pub fn save_text(text: &str, name: &str) {
    if let Ok(blob) = Blob::new_with_str_sequence(&Array::of1(&text.into())) {
        save(&blob, name);
    }
}
