//! Server-sent events (the HTML standard, section 9.2) out of a fetch body. Fetch and not `EventSource`, because chat
//! streams are POSTs and both need the key header.

use wasm_bindgen::JsCast;
use web_sys::{AbortController, ReadableStreamDefaultReader};

use super::{Call, ClientError, read_chunk, send};

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub name: Option<String>,
    pub data: String,
}

/// Bytes in, events out. Holds back what may be part of a line or of a character.
#[derive(Default)]
pub struct Parser {
    pending: Vec<u8>,
    event: Event,
    lines: usize,
}

impl Parser {
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.pending.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(event) = self.line(line.trim_end_matches(['\r', '\n'])) {
                events.push(event);
            }
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let lines = std::mem::take(&mut self.lines);
            return (lines > 0).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.lines > 0 {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.lines += 1;
            }
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.name = Some(value.to_owned()),
            // Comments keep the connection open; `retry` is the caller's own business.
            _ => {}
        }
        None
    }
}

/// Sends the call and hands every event to `on_event` until the stream ends, fails, or `on_event` says stop (false).
pub async fn follow(
    call: Call,
    abort: &AbortController,
    mut on_event: impl FnMut(Event) -> bool,
) -> Result<(), ClientError> {
    let response = send(call.signal(abort)).await?;
    let body = response.body().ok_or_else(|| ClientError::Garbled("no body".to_owned()))?;
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut parser = Parser::default();
    while let Some(bytes) = read_chunk(&reader).await? {
        for event in parser.push(&bytes) {
            if !on_event(event) {
                abort.abort();
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_any_split() {
        let stream =
            "retry: 3000\n\nid: 7\ndata: {\"text\": \"炉火\"}\n\n: beat\n\nevent: end\ndata: a\ndata: b\r\n\r\n";
        let mut whole = Parser::default();
        let expected = whole.push(stream.as_bytes());
        assert_eq!(expected.len(), 2);
        assert_eq!(expected[0].data, "{\"text\": \"炉火\"}");
        assert_eq!(expected[0].id.as_deref(), Some("7"));
        assert_eq!(expected[1].data, "a\nb");
        for size in 1..12 {
            let mut parser = Parser::default();
            let events: Vec<Event> = stream.as_bytes().chunks(size).flat_map(|chunk| parser.push(chunk)).collect();
            assert_eq!(events, expected, "pieces of {size} bytes");
        }
    }
}
