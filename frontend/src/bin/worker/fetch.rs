//! Brings a model's files here: small ones from the server (or the service worker's copy), large ones through the
//! browser's private storage, where a broken download is taken up again.

use std::rc::Rc;

use hearth_shared::lab::{LabError, LabFile, LabModel, Stage};
use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, ReadableStreamDefaultReader, RequestInit, Response};

use crate::{desk::Task, keep::Kept, port::scope, probe};

/// The service worker keeps files up to this size; larger ones are kept here.
const LARGE: u64 = 16 << 20;

/// A beginning is looked at when so much of it is there, then twice that, and so on.
const FIRST_BEGINNING: usize = 1 << 20;
/// No header is longer.
const LONGEST_BEGINNING: usize = 64 << 20;

/// A file and its bytes.
pub struct Fetched {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Which of a model's files are needed. The engine needs weights, sizes and words, and reads no cards and no code.
pub fn is_needed(name: &str) -> bool {
    let wanted = [".json", ".safetensors", ".gguf", ".jinja", ".txt", ".model"];
    wanted.iter().any(|ending| name.ends_with(ending)) && name != "hearth.json"
}

/// All needed files of a model.
///
/// # Errors
/// The task is stopped, the server refuses or goes away, or there is no room to keep a large file.
pub async fn model(task: &Rc<Task>, model: &LabModel, wanted: impl Fn(&str) -> bool) -> Result<Vec<Fetched>, LabError> {
    let files: Vec<&LabFile> = model.files.iter().filter(|file| wanted(&file.name)).collect();
    let total: u64 = files.iter().map(|file| file.bytes).sum();
    let mut done = 0;
    let mut fetched = Vec::new();
    for file in files {
        let progress = |bytes: u64| task.tell(Stage::Fetch, done + bytes, Some(total), Some(&file.name));
        progress(0);
        let bytes = if file.bytes > LARGE {
            kept(task, model, file, &progress).await?
        } else {
            let mut bytes = Vec::with_capacity(file.bytes as usize);
            let stream = Stream::open(task, model, file, 0).await?;
            stream
                .drain(task, |chunk| {
                    bytes.extend_from_slice(&chunk.to_vec());
                    progress(bytes.len() as u64);
                    Ok(())
                })
                .await?;
            bytes
        };
        if bytes.len() as u64 != file.bytes {
            return Err(LabError::Damaged { name: file.name.clone(), expected: file.bytes, found: bytes.len() as u64 });
        }
        done += file.bytes;
        fetched.push(Fetched { name: file.name.clone(), bytes });
    }
    task.tell(Stage::Fetch, total, Some(total), None);
    Ok(fetched)
}

/// As much of a file's beginning as `read` needs: it is asked again whenever twice as much is there, the last time (`true`)
/// with the whole file or with [`LONGEST_BEGINNING`]. What comes behind is not fetched.
///
/// # Errors
/// As [`model`].
pub async fn beginning<T>(
    task: &Rc<Task>,
    model: &LabModel,
    file: &LabFile,
    mut read: impl FnMut(&[u8], bool) -> Option<T>,
) -> Result<Option<T>, LabError> {
    let stream = Stream::open(task, model, file, 0).await?;
    let reader = stream.reader.clone();
    let mut bytes = Vec::new();
    let mut next = FIRST_BEGINNING;
    let mut found = None;
    let drained = stream
        .drain(task, |chunk| {
            bytes.extend_from_slice(&chunk.to_vec());
            task.tell(Stage::Fetch, bytes.len() as u64, None, Some(&file.name));
            if bytes.len() >= next {
                next *= 2;
                found = read(&bytes, false);
            }
            // The only way out of a stream before its end; nobody hears of this reason.
            if found.is_some() || bytes.len() >= LONGEST_BEGINNING { Err(LabError::Cancelled) } else { Ok(()) }
        })
        .await;
    // Nothing waits for the answer: the connection is closed, or it was at its end.
    let _ = reader.cancel();
    task.check()?;
    if found.is_none() && bytes.len() < LONGEST_BEGINNING {
        drained?;
    }
    Ok(found.or_else(|| read(&bytes, true)))
}

/// A large file: what is kept of it, and the rest from the server.
async fn kept(task: &Rc<Task>, model: &LabModel, file: &LabFile, progress: &impl Fn(u64)) -> Result<Vec<u8>, LabError> {
    let (hash, _) = model.place(file);
    let kept = Kept::open(hash, &file.name).await?;
    let mut have = kept.size()?;
    if have > file.bytes {
        kept.cut(0)?;
        have = 0;
    }
    if have < file.bytes {
        if let Some(available) = probe::free_storage().await
            && file.bytes - have > available
        {
            return Err(LabError::Storage { needed: file.bytes - have, available });
        }
        let stream = Stream::open(task, model, file, have).await?;
        let mut at = stream.from;
        kept.cut(at)?;
        stream
            .drain(task, |chunk| {
                kept.write(at, &chunk.to_vec())?;
                at += u64::from(chunk.length());
                progress(at);
                Ok(())
            })
            .await?;
        kept.flush()?;
    }
    progress(file.bytes);
    kept.read()
}

/// A response body on its way.
struct Stream {
    reader: ReadableStreamDefaultReader,
    url: String,
    /// Offset of its first byte in the file: what was asked for, or 0 from a server that sends only whole files.
    from: u64,
}

impl Stream {
    async fn open(task: &Task, model: &LabModel, file: &LabFile, from: u64) -> Result<Self, LabError> {
        let (_, base) = model.place(file);
        let url = format!("{base}{}", file.name);
        let failed = |error: JsValue| failure(task, &url, &error);
        let headers = Headers::new().map_err(failed)?;
        if let Some(key) = &model.key {
            headers.set("authorization", &format!("Bearer {key}")).map_err(failed)?;
        }
        if from > 0 {
            headers.set("range", &format!("bytes={from}-")).map_err(failed)?;
        }
        let init = RequestInit::new();
        init.set_headers(&headers);
        init.set_signal(task.signal().as_ref());
        // A blob or data URL of the worker's script has no base of its own, so the address is made absolute.
        // A file that a person brought has an absolute one.
        let origin = if url.starts_with("blob:") { String::new() } else { scope().location().origin() };
        let absolute = format!("{origin}{url}");
        let response = JsFuture::from(scope().fetch_with_str_and_init(&absolute, &init)).await.map_err(failed)?;
        let response: Response = response.dyn_into().map_err(failed)?;
        if !response.ok() {
            return Err(LabError::Fetch { url, message: format!("HTTP {}", response.status()) });
        }
        let body =
            response.body().ok_or_else(|| LabError::Fetch { url: url.clone(), message: "no body".to_owned() })?;
        let reader = body.get_reader().dyn_into().map_err(|object| failed(object.into()))?;
        Ok(Self { reader, from: if response.status() == 206 { from } else { 0 }, url })
    }

    async fn drain(
        self,
        task: &Task,
        mut take: impl FnMut(&Uint8Array) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        loop {
            task.check()?;
            let read = JsFuture::from(self.reader.read()).await.map_err(|error| failure(task, &self.url, &error))?;
            if Reflect::get(&read, &"done".into()).is_ok_and(|done| done.is_truthy()) {
                return Ok(());
            }
            let chunk = Reflect::get(&read, &"value".into()).map_err(|error| failure(task, &self.url, &error))?;
            take(&Uint8Array::new(&chunk))?;
        }
    }
}

/// A stopped task ends its fetch: then the stop is the reason, not the fetch.
fn failure(task: &Task, url: &str, error: &JsValue) -> LabError {
    task.check().err().unwrap_or_else(|| LabError::Fetch { url: url.to_owned(), message: message(error) })
}

/// What a JavaScript error says.
pub fn message(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |error| String::from(error.message()))
}
