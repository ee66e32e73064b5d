//! What the worker once answered, in a file: a lab shows it until its own worker is there. The file holds the calls a lab makes
//! when it is opened, each with its answer:
//!
//! ```text
//! u32, little-endian   length of the list in bytes
//! JSON                 the list of exchanges
//! bytes                their buffers, one after the other
//! ```

use serde::{Deserialize, Serialize};

use super::{EngineChoice, LabModel, OpenModel, Reply, Request};

/// A call and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    pub request: Request,
    pub reply: Reply,
    /// The sizes of the answer's buffers in bytes, in their order.
    pub buffers: Vec<usize>,
}

impl Exchange {
    /// Whether it answers `request`. Where a model's files lie and who may fetch them is of no account; what is in them is.
    #[must_use]
    pub fn answers(&self, request: &Request) -> bool {
        match (&self.request, request) {
            (Request::Open(known), Request::Open(asked)) => plain(known) == plain(asked),
            (known, asked) => known == asked,
        }
    }
}

/// An opening without the place of the files and the key to them.
#[must_use]
pub fn plain(open: &OpenModel) -> OpenModel {
    let LabModel { id, hash, parameters, .. } = open.model.clone();
    let model = LabModel { id, hash, parameters, base: String::new(), key: None, files: Vec::new() };
    OpenModel { model, engine: EngineChoice::Auto }
}

/// The file of these exchanges.
///
/// # Panics
/// Never: the protocol's types are JSON by definition, and a list of them is shorter than 4 GB.
#[must_use]
pub fn write(exchanges: &[(Exchange, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<&Exchange> = exchanges.iter().map(|(exchange, _)| exchange).collect();
    let list = serde_json::to_vec(&list).unwrap_or_default();
    let mut file = (list.len() as u32).to_le_bytes().to_vec();
    file.extend(list);
    for (_, bytes) in exchanges {
        file.extend(bytes);
    }
    file
}

/// An exchange with the bytes of its buffers.
pub type Kept<'f> = (Exchange, Vec<&'f [u8]>);

/// Reads a file.
///
/// # Errors
/// The file is not one of these, or of another version of the protocol.
pub fn read(file: &[u8]) -> Result<Vec<Kept<'_>>, String> {
    let short = || "the file ends too early".to_owned();
    let (length, rest) = file.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (list, mut rest) = rest.split_at_checked(length).ok_or_else(short)?;
    let list: Vec<Exchange> = serde_json::from_slice(list).map_err(|error| error.to_string())?;
    let mut exchanges = Vec::with_capacity(list.len());
    for exchange in list {
        let mut buffers = Vec::with_capacity(exchange.buffers.len());
        for &size in &exchange.buffers {
            let (buffer, after) = rest.split_at_checked(size).ok_or_else(short)?;
            buffers.push(buffer);
            rest = after;
        }
        exchanges.push((exchange, buffers));
    }
    if rest.is_empty() { Ok(exchanges) } else { Err(format!("{} bytes belong to no answer", rest.len())) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn exchange(text: &str, buffers: Vec<usize>) -> Exchange {
        let reply = Reply::Checked { report: text.to_uppercase(), preview: Vec::new() };
        Exchange { request: Request::Trace { text: text.to_owned() }, reply, buffers }
    }

    #[test]
    fn a_file_gives_back_what_went_in_and_refuses_anything_else() {
        let all = [(exchange("one", vec![3, 0, 2]), vec![1, 2, 3, 4, 5]), (exchange("two", vec![1]), vec![6])];
        let file = write(&all);
        let back = read(&file).unwrap();
        assert_eq!(back[0], (all[0].0.clone(), vec![&[1, 2, 3][..], &[], &[4, 5]]));
        assert_eq!(back[1], (all[1].0.clone(), vec![&[6][..]]));
        for end in 0..file.len() {
            read(&file[..end]).unwrap_err();
        }
        read(&[file.as_slice(), &[0]].concat()).unwrap_err();
    }

    #[test]
    fn the_same_model_is_the_same_wherever_it_lies() {
        let open = |hash: &str, base: &str, engine| {
            let model = LabModel {
                id: "hearth-nano".to_owned(),
                hash: hash.to_owned(),
                base: base.to_owned(),
                key: None,
                parameters: 7,
                files: Vec::new(),
            };
            Request::Open(OpenModel { model, engine })
        };
        let known = Exchange { request: open("a", "", EngineChoice::Auto), ..exchange("", Vec::new()) };
        assert!(known.answers(&open("a", "/files/", EngineChoice::Cpu)));
        assert!(!known.answers(&open("b", "", EngineChoice::Auto)));
        assert!(!known.answers(&Request::Trace { text: String::new() }));
        assert!(exchange("one", Vec::new()).answers(&Request::Trace { text: "one".to_owned() }));
        assert!(!exchange("one", Vec::new()).answers(&Request::Trace { text: "two".to_owned() }));
    }
}
