//! The conversation in the tab's own storage, so that a reload keeps it: the models that sit there, every prompt, every answer with how it
//! ended. What was being written when the page went away is there as far as it had come, and counts as stopped. Each tab has its own
//! conversation; the sampling settings are kept by `settings`, for every tab alike.

use std::time::Duration;

use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::conversation::{Conversation, State, Turn};
use crate::app::client::tab_storage as storage;

const KEY: &str = "hearth.conversation";
/// Raised when a page could misread what an earlier one stored; such a conversation is passed over.
const VERSION: u32 = 1;
/// The newest turns that are kept, and the bytes of their text.
const MOST_TURNS: usize = 100;
const MOST_BYTES: usize = 200_000;
/// At most one write in this time: tokens come faster than a storage should be written.
const PAUSE: Duration = Duration::from_millis(400);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    seats: Vec<String>,
    turns: Vec<Turn>,
}

impl Kept {
    /// What a storage holds; none where that is nothing, or nothing that this page can read.
    fn parse(text: &str) -> Option<Self> {
        let mut kept: Self = serde_json::from_str(text).ok()?;
        if kept.version != VERSION {
            return None;
        }
        kept.turns = newest(kept.turns);
        for answer in kept.turns.iter_mut().flat_map(|turn| &mut turn.answers) {
            if answer.is_busy() {
                answer.state = State::Stopped;
            }
        }
        Some(kept)
    }
}

/// The last turns, as many as are kept.
fn newest(mut turns: Vec<Turn>) -> Vec<Turn> {
    let mut bytes = 0;
    let fitting = turns
        .iter()
        .rev()
        .take(MOST_TURNS)
        .take_while(|turn| {
            bytes += turn.prompt.len() + turn.answers.iter().map(|answer| answer.text.len()).sum::<usize>();
            bytes <= MOST_BYTES
        })
        .count();
    turns.split_off(turns.len() - fitting)
}

/// Brings back what this tab had, and keeps what follows.
pub fn keep(conversation: Conversation) {
    let stored = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    if let Some(kept) = stored.and_then(|text| Kept::parse(&text)) {
        conversation.seats.set(kept.seats);
        conversation.restore(kept.turns);
    }
    // A frame of the page's own shares the tab's storage: who changes nothing must not write over who does.
    let written = StoredValue::new(text_of(conversation));
    let write = move || {
        let text = text_of(conversation);
        if written.with_value(|written| *written != text)
            && let Some(storage) = storage()
        {
            // A full or forbidden storage only means that the conversation ends with the page.
            let _ = storage.set_item(KEY, &text);
            written.set_value(text);
        }
    };
    let waiting = StoredValue::new(false);
    Effect::new(move |_| {
        conversation.seats.track();
        conversation.exchanges.with(|all| {
            for answer in all.iter().flat_map(|exchange| &exchange.answers) {
                answer.track();
            }
        });
        if !waiting.get_value() {
            waiting.set_value(true);
            set_timeout(
                move || {
                    waiting.set_value(false);
                    write();
                },
                PAUSE,
            );
        }
    });
    // Both listeners live as long as the page.
    let _ = window_event_listener_untyped("beforeunload", move |_| conversation.leave());
    let _ = window_event_listener_untyped("pagehide", move |_| write());
}

fn text_of(conversation: Conversation) -> String {
    let kept = Kept {
        version: VERSION,
        seats: conversation.seats.get_untracked(),
        turns: newest(conversation.exchanges.with_untracked(|all| all.iter().map(Turn::from).collect())),
    };
    serde_json::to_string(&kept).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::super::conversation::Answer;
    use super::*;

    fn turn(prompt: &str, text: &str, state: State) -> Turn {
        let answer = Answer { model: "m".to_owned(), text: text.to_owned(), state, ..Answer::default() };
        Turn { prompt: prompt.to_owned(), answers: vec![answer] }
    }

    fn stored(turns: Vec<Turn>) -> String {
        serde_json::to_string(&Kept { version: VERSION, seats: vec!["m".to_owned()], turns }).unwrap()
    }

    #[test]
    fn what_was_being_written_comes_back_as_stopped() {
        let done = State::Done("stop".to_owned());
        let kept =
            Kept::parse(&stored(vec![turn("a", "b", done.clone()), turn("c", "half", State::Streaming)])).unwrap();
        assert_eq!(kept.turns, [turn("a", "b", done), turn("c", "half", State::Stopped)]);
    }

    #[test]
    fn the_newest_turns_are_kept_within_bounds() {
        let many: Vec<Turn> = (0..150).map(|n| turn(&n.to_string(), "x", State::Stopped)).collect();
        let kept = newest(many);
        assert_eq!((kept.len(), kept[0].prompt.as_str()), (MOST_TURNS, "50"));
        let long = "x".repeat(MOST_BYTES / 2);
        let large: Vec<Turn> = (0..4).map(|n| turn(&n.to_string(), &long, State::Stopped)).collect();
        assert_eq!(newest(large).len(), 1);
        assert!(newest(vec![turn(&"x".repeat(MOST_BYTES + 1), "", State::Stopped)]).is_empty());
    }

    #[test]
    fn unreadable_and_foreign_data_is_passed_over() {
        let newer = stored(Vec::new()).replace("\"version\":1", "\"version\":2");
        for text in ["", "null", "[]", "{\"version\":1}", "{\"turns\":3}", newer.as_str()] {
            assert_eq!(Kept::parse(text), None, "{text}");
        }
    }
}
