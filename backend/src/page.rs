//! The page inside the program: every file brotli-compressed once, at build time. It knows no HTTP; `http` serves it.

use std::io::Read;

/// One file of the page.
pub struct Asset {
    /// Path below `/`, without a leading slash.
    pub path: &'static str,
    /// Value of `Content-Type`.
    pub content_type: &'static str,
    /// Value of `ETag`, quotes included: a hash of the decoded content.
    pub etag: &'static str,
    /// The name holds a hash of the content, so the file never changes.
    pub immutable: bool,
    /// Bytes after decoding.
    pub size: usize,
    /// The content as `Content-Encoding: br` sends it.
    pub brotli: &'static [u8],
}

// BUILD_ID: the build id of the embedded page (`None`: no page is embedded), and ASSETS, sorted by path.
include!(concat!(env!("OUT_DIR"), "/page_assets.rs"));

/// What `/` shows where no page is embedded.
pub const NOTICE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Hearth</title>\
    <meta name=\"viewport\" content=\"width=device-width\"><body style=\"font:16px/1.6 system-ui;margin:4rem auto;max-width:40rem;padding:0 1rem\">\
    <h1>Hearth runs, without its page</h1><p>This program was built before the page, or the page's sources have changed since. \
    Build and start both with <code>cargo xtask up</code>. The API works: see <a href=\"/openapi.json\">/openapi.json</a>.</p>\
    <h1 lang=\"zh\">Hearth 正在运行，但没有页面</h1><p lang=\"zh\">程序构建时页面尚未构建，或页面源码此后有改动。请运行 <code>cargo xtask up</code> \
    构建并启动。API 可用：<a href=\"/openapi.json\">/openapi.json</a>。</p></body></html>";

impl Asset {
    /// The content itself, for clients that do not accept brotli.
    pub fn decoded(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.size);
        brotli_decompressor::Decompressor::new(self.brotli, 1 << 16).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The file at `path`, with or without a leading slash; the root is `index.html`.
pub fn get(path: &str) -> Option<&'static Asset> {
    let path = match path.trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let at = ASSETS.binary_search_by(|asset| asset.path.cmp(path)).ok()?;
    ASSETS.get(at)
}

/// Every file of the page.
pub fn all() -> &'static [Asset] {
    ASSETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_decodes_to_its_size() -> std::io::Result<()> {
        for asset in all() {
            assert_eq!(asset.decoded()?.len(), asset.size, "{}", asset.path);
            assert!(get(asset.path).is_some_and(|found| found.etag == asset.etag));
        }
        Ok(())
    }

    #[test]
    fn page_and_build_id_come_together() {
        assert_eq!(BUILD_ID.is_some(), get("/").is_some());
        assert!(get("no/such/file").is_none());
    }
}
