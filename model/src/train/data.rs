//! Examples as the model sees them: token ids, and which of them the loss counts.

use hearth_shared::text::{Example, Message, TokenCount, TokenCounter};

use super::TrainError;

/// One example. `trained[i]` says whether predicting `ids[i]` from the tokens before it counts; the first never does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    pub ids: Vec<u32>,
    pub trained: Vec<bool>,
}

impl Sequence {
    /// Every token but the first is trained.
    pub fn plain(ids: Vec<u32>) -> Self {
        let mut trained = vec![true; ids.len()];
        if let Some(first) = trained.first_mut() {
            *first = false;
        }
        Self { ids, trained }
    }

    /// Appends tokens that all are trained, or all not.
    pub fn extend(&mut self, ids: &[u32], trained: bool) {
        self.ids.extend_from_slice(ids);
        self.trained.resize(self.ids.len(), trained);
        if let Some(first) = self.trained.first_mut() {
            *first = false;
        }
    }

    /// Tokens the loss counts.
    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().filter(|trained| **trained).count()
    }

    /// Positions of a forward pass over it: the last token is only ever predicted.
    pub fn positions(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }
}

/// Whoever has a tokenizer and a chat template.
pub trait Encoder {
    /// # Errors
    /// The template refuses the conversation; the text says why.
    fn chat(&self, messages: &[Message]) -> Result<Sequence, String>;

    fn text(&self, text: &str) -> Vec<u32>;

    /// The token between documents.
    fn end_of_text(&self) -> Option<u32>;
}

/// Lets the validator count what the trainer will train on.
pub struct Counter<'a>(pub &'a dyn Encoder);

impl TokenCounter for Counter<'_> {
    fn count(&self, example: &Example) -> Result<TokenCount, String> {
        Ok(match example {
            Example::Chat(messages) => {
                let sequence = self.0.chat(messages)?;
                TokenCount { total: sequence.ids.len() as u32, trained: sequence.trained_tokens() as u32 }
            }
            Example::Preference { .. } => return Err("its two conversations are counted one by one".to_owned()),
            Example::Text(text) => {
                let total = self.0.text(text).len() as u32;
                TokenCount { total, trained: total }
            }
        })
    }
}

/// Encodes the examples of a file. Conversations become a sequence each, preferences the better and the worse one; paragraphs of text are joined by a blank line and
/// cut into windows.
///
/// # Errors
/// A conversation that the template refuses or that is longer than `max_length`: nothing is shortened silently.
pub fn encode(
    examples: &[(u64, Example)],
    encoder: &dyn Encoder,
    max_length: usize,
) -> Result<Vec<Sequence>, TrainError> {
    let mut sequences = Vec::new();
    let mut paragraphs: Vec<&str> = Vec::new();
    for (row, example) in examples {
        let refuse = |message| TrainError::Data { row: *row, message };
        if let Example::Text(text) = example {
            paragraphs.push(text);
        }
        for messages in example.conversations() {
            let sequence = encoder.chat(messages).map_err(refuse)?;
            let length = sequence.ids.len();
            if length > max_length {
                return Err(refuse(format!("{length} tokens, but at most {max_length} fit")));
            }
            sequences.push(sequence);
        }
    }
    if !paragraphs.is_empty() {
        let ids = encoder.text(&paragraphs.join("\n\n"));
        sequences.extend(windows(&[ids], encoder.end_of_text(), max_length));
    }
    Ok(sequences)
}

/// Documents behind one another, each closed by `end`, cut into windows of `length + 1` tokens that share their border
/// token, so that every token but the first is predicted once. A tail of one token is left out.
pub fn windows(documents: &[Vec<u32>], end: Option<u32>, length: usize) -> Vec<Sequence> {
    let stream: Vec<u32> = documents.iter().flat_map(|document| document.iter().copied().chain(end)).collect();
    let starts = (0..stream.len().saturating_sub(1)).step_by(length);
    starts.map(|start| Sequence::plain(stream[start..stream.len().min(start + length + 1)].to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_predict_every_token_once() {
        let documents = [vec![1, 2, 3], vec![4, 5]];
        let cut = windows(&documents, Some(0), 3);
        let ids: Vec<_> = cut.iter().map(|window| window.ids.clone()).collect();
        assert_eq!(ids, [vec![1, 2, 3, 0], vec![0, 4, 5, 0]]);
        assert_eq!(cut.iter().map(Sequence::trained_tokens).sum::<usize>(), 6);
    }

    #[test]
    fn the_first_token_is_never_trained() {
        let mut sequence = Sequence::default();
        sequence.extend(&[7, 8], true);
        sequence.extend(&[9], false);
        assert_eq!(sequence.trained, [false, true, false]);
    }
}
