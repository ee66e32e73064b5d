//! Where a person writes what a lab reads: a text area that keeps the part which the lab can read, and says so when there was more. What
//! is too much is cut before it is in the field: a browser lays out all that is there, and takes minutes for millions of characters.

use hearth_shared::lab::words::beginning;
use leptos::prelude::*;
use web_sys::{ClipboardEvent, Event, HtmlTextAreaElement, InputEvent};

use crate::app::components::icons::Icon;
use crate::app::format;
use crate::app::i18n::{t_string, use_i18n};

/// More than the longest pass takes of any text.
const CHARACTERS: usize = 8_000;
/// UTF-16 units that the browser itself lets into the field where no event tells of them before. No lab reads more than half as many
/// characters.
const FIELD: usize = 40_000;

fn of_a_pass(text: &str) -> &str {
    beginning(text, CHARACTERS)
}

/// What a field keeps of a text that is too long for it.
#[derive(Clone, Debug, PartialEq)]
struct Shortened {
    /// Characters of the whole text.
    whole: usize,
    /// The browser had cut it before: there were more.
    or_more: bool,
    kept: String,
}

impl Shortened {
    /// None of a text that is kept whole.
    fn of(text: &str, keep: fn(&str) -> &str) -> Option<Self> {
        let kept = keep(text);
        (kept.len() < text.len()).then(|| Self {
            whole: text.chars().count(),
            or_more: units(text) == FIELD,
            kept: kept.to_owned(),
        })
    }

    fn whole(&self) -> String {
        let whole = format::group(self.whole as u64);
        if self.or_more { format!("{whole}+") } else { whole }
    }
}

/// Length as a browser counts it.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// A text with another in the place of what is selected, and where the cursor stands behind it; places count UTF-16 units.
fn with_inserted(text: &str, (start, end): (usize, usize), inserted: &str) -> (String, usize) {
    let byte = |place: usize| {
        let mut passed = 0;
        let before = text.chars().take_while(|c| {
            passed += c.len_utf16();
            passed <= place
        });
        before.map(char::len_utf8).sum::<usize>()
    };
    let (before, after) = (&text[..byte(start)], &text[byte(end.max(start))..]);
    // As a text area has its lines.
    let inserted = inserted.replace("\r\n", "\n").replace('\r', "\n");
    let cursor = units(before) + units(&inserted);
    (format!("{before}{inserted}{after}"), cursor)
}

/// The field's text and how it is kept short.
#[derive(Clone, Copy)]
struct Writing {
    text: RwSignal<String>,
    keep: fn(&str) -> &str,
    shortened: RwSignal<Option<Shortened>>,
}

impl Writing {
    /// The field has a text: the part of it that is read becomes the lab's.
    fn take(self, area: &HtmlTextAreaElement, all: String) {
        let shortened = Shortened::of(&all, self.keep);
        let text = shortened.as_ref().map_or(all, |shortened| shortened.kept.clone());
        if shortened.is_some() {
            // The signal may hold this already: then it would not put it back.
            area.set_value(&text);
        }
        self.shortened.set(shortened);
        self.text.set(text);
    }

    /// Something is about to come into the field. Where the text would become too long, the part that is kept is put there instead.
    fn come(self, event: &Event, inserted: &str) {
        if !event.cancelable() {
            return;
        }
        let area = event_target::<HtmlTextAreaElement>(event);
        let place = |unit: Result<Option<u32>, _>| unit.ok().flatten().map_or(usize::MAX, |unit| unit as usize);
        let selected = (place(area.selection_start()), place(area.selection_end()));
        let (all, cursor) = with_inserted(&area.value(), selected, inserted);
        let Some(Shortened { kept, .. }) = Shortened::of(&all, self.keep) else { return };
        event.prevent_default();
        // Of the end of a text the cursor is at the end.
        let end = units(&kept);
        let cursor = if all.starts_with(&kept) { cursor.min(end) } else { end } as u32;
        self.take(&area, all);
        // A field that is not shown has no cursor.
        let _ = area.set_selection_range(cursor, cursor);
    }

    /// A text that a link or the program has put there is cut too.
    fn watch(self) {
        Effect::new(move |_| {
            if let Some(shortened) = self.text.with(|text| Shortened::of(text, self.keep)) {
                self.text.set(shortened.kept.clone());
                self.shortened.set(Some(shortened));
            }
        });
    }
}

#[component]
pub fn Prompt(
    id: &'static str,
    /// Further classes of the text area.
    #[prop(optional)]
    class: &'static str,
    #[prop(default = "3")] rows: &'static str,
    #[prop(into)] label: Signal<String>,
    text: RwSignal<String>,
    /// The part of a text that is read.
    #[prop(default = of_a_pass)]
    keep: fn(&str) -> &str,
    /// Says how many characters there were, and how many of them are kept.
    #[prop(optional, into)]
    cut: Option<Callback<(String, String), String>>,
) -> impl IntoView {
    let i18n = use_i18n();
    let writing = Writing { text, keep, shortened: RwSignal::new(None) };
    writing.watch();
    let write = move |event: Event| {
        let area = event_target::<HtmlTextAreaElement>(&event);
        let all = area.value();
        writing.take(&area, all);
    };
    let paste = move |event: ClipboardEvent| {
        let pasted = event.clipboard_data().and_then(|data| data.get_data("text/plain").ok());
        if let Some(pasted) = pasted {
            writing.come(&event, &pasted);
        }
    };
    // What is dropped comes this way too: only now the cursor is where it will be.
    let before = move |event: InputEvent| {
        if let Some(data) = event.data() {
            writing.come(&event, &data);
        }
    };
    let notice = move || {
        let shortened = writing.shortened.get()?;
        if text.with(|text| *text != shortened.kept) {
            return None;
        }
        let (whole, kept) = (shortened.whole(), format::group(shortened.kept.chars().count() as u64));
        let words = match cut {
            Some(cut) => cut.run((whole, kept)),
            None => t_string!(i18n, lab.cut_text, whole = whole, kept = kept),
        };
        Some(view! { <p class="notice warn lab-cut" role="status"><Icon name="info"/><span>{words}</span></p> })
    };
    view! {
        <label class="field">
            <span class="field-label">{label}</span>
            <textarea
                id=id
                class=format!("textarea {class}")
                rows=rows
                dir="auto"
                spellcheck="false"
                maxlength=FIELD.to_string()
                prop:value=move || text.with(|text| keep(text).to_owned())
                on:paste=paste
                on:beforeinput=before
                on:input=write
            ></textarea>
        </label>
        {notice}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_takes_the_place_of_what_is_selected() {
        // The flame is two units long.
        assert_eq!(with_inserted("a🔥b", (3, 4), "x\r\ny"), ("a🔥x\ny".to_owned(), 6));
        assert_eq!(with_inserted("a🔥b", (1, 3), "é"), ("aéb".to_owned(), 2));
        assert_eq!(with_inserted("ab", (0, 0), "火"), ("火ab".to_owned(), 1));
        assert_eq!(with_inserted("ab", (usize::MAX, usize::MAX), "\r"), ("ab\n".to_owned(), 3));
    }

    #[test]
    fn a_text_that_fits_is_kept_whole_and_a_longer_one_says_how_long_it_was() {
        assert_eq!(Shortened::of(&"火".repeat(CHARACTERS), of_a_pass), None);
        let whole = |characters: usize| Shortened::of(&"a".repeat(characters), of_a_pass).map(|cut| cut.whole());
        assert_eq!(whole(CHARACTERS + 1), Some(format::group(8_001)));
        // There the browser has cut already.
        assert_eq!(whole(FIELD), Some(format!("{}+", format::group(40_000))));
        let kept = Shortened::of(&"a".repeat(10 * CHARACTERS), of_a_pass).map(|cut| cut.kept.len());
        assert_eq!(kept, Some(CHARACTERS));
    }
}
