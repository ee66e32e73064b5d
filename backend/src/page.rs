//! The page inside the program: every file brotli-compressed once, when the page was built, all in one archive. It knows no HTTP;
//! `http` serves it.

use std::io::Read;
use std::sync::OnceLock;

/// One file of the page.
#[derive(Debug)]
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

/// The build id of the sources this program was compiled with.
const SOURCES: &str = env!("HEARTH_SOURCES");

static PAGE: OnceLock<Page> = OnceLock::new();

#[derive(Debug, Default)]
struct Page {
    build_id: Option<&'static str>,
    /// Sorted by path.
    assets: Vec<Asset>,
}

/// The archive that `cargo xtask` made of the page; empty where it made none. It expands in the program, not in the library: a new page
/// is linked in and nothing is compiled.
#[macro_export]
macro_rules! built_page {
    () => {
        include_bytes!(env!("HEARTH_PAGE"))
    };
}

/// Takes the archive, once and before anything is served. A page of other sources than the program's is left out.
pub fn install(archive: &'static [u8]) {
    let page = read(archive, SOURCES).unwrap_or_default();
    // Whoever comes second finds the same page there.
    let _ = PAGE.set(page);
}

/// The archive is `build id`, a line for each file, an empty line, and the contents in the order of the lines.
fn read(archive: &'static [u8], sources: &str) -> Option<Page> {
    let end = archive.windows(2).position(|two| two == b"\n\n")?;
    let mut lines = std::str::from_utf8(&archive[..end]).ok()?.lines();
    let build_id = lines.next().filter(|id| *id == sources)?;
    let mut rest = &archive[end + 2..];
    let mut assets = Vec::new();
    for line in lines {
        let columns: Vec<&str> = line.split('\t').collect();
        let [path, content_type, etag, immutable, size, length] = columns[..] else {
            return None;
        };
        let (brotli, after) = rest.split_at_checked(length.parse().ok()?)?;
        rest = after;
        let (immutable, size) = (immutable == "true", size.parse().ok()?);
        assets.push(Asset { path, content_type, etag, immutable, size, brotli });
    }
    assets.sort_by_key(|asset| asset.path);
    Some(Page { build_id: Some(build_id), assets })
}

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

/// The build id of the embedded page; none where no page is embedded.
pub fn build_id() -> Option<&'static str> {
    PAGE.get()?.build_id
}

/// The file at `path`, with or without a leading slash; the root is `index.html`.
pub fn get(path: &str) -> Option<&'static Asset> {
    let path = match path.trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let assets = all();
    let at = assets.binary_search_by(|asset| asset.path.cmp(path)).ok()?;
    assets.get(at)
}

/// Every file of the page.
pub fn all() -> &'static [Asset] {
    PAGE.get().map_or(&[], |page| &page.assets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVE: &[u8] =
        b"id-1\nindex.html\ttext/html\t\"e1\"\tfalse\t9\t3\na-0123.js\ttext/javascript\t\"e2\"\ttrue\t4\t2\n\nABCDE";

    #[test]
    fn an_archive_is_read_back() {
        let page = read(ARCHIVE, "id-1");
        let assets = page.map(|page| page.assets).unwrap_or_default();
        let found: Vec<_> = assets.iter().map(|a| (a.path, a.immutable, a.size, a.brotli)).collect();
        assert_eq!(found, [("a-0123.js", true, 4, b"DE".as_slice()), ("index.html", false, 9, b"ABC".as_slice())]);
    }

    #[test]
    fn another_builds_page_and_a_cut_one_are_left_out() {
        assert!(read(ARCHIVE, "id-2").is_none());
        assert!(read(b"", "").is_none());
        assert!(read(&ARCHIVE[..ARCHIVE.len() - 1], "id-1").is_none());
    }
}
