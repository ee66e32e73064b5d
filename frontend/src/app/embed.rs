//! The page in a frame of itself: no rail and no bar, and the language and the theme of the page around it. The learning path shows the labs
//! so. In a frame the address keeps saying `embed=1`, whatever else a lab writes into it.

use std::cell::Cell;

use leptos::prelude::*;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{HtmlIFrameElement, MessageEvent};

use super::address;
use super::i18n::{Locale, use_i18n};
use super::theme::{Theme, use_theme};

/// Says it in the address.
pub const NAME: &str = "embed";
/// Begins the message that says how the page around looks.
const LOOK: &str = "hearth-look";

thread_local! {
    static EMBEDDED: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Whether this page stands in a frame of ours. Asked first when the page starts: later the address may say less.
pub fn is_embedded() -> bool {
    EMBEDDED.with(|known| {
        known.get().unwrap_or_else(|| {
            let now = is_asked_for() && is_framed();
            known.set(Some(now));
            now
        })
    })
}

/// A lab's address as a frame opens it.
pub fn framed(address: &str) -> String {
    let sign = if address.contains('?') { '&' } else { '?' };
    format!("{address}{sign}{NAME}=1")
}

fn is_asked_for() -> bool {
    address::shown().iter().any(|(name, _)| name == NAME)
}

/// None of its frames has another origin: the browser says nothing of those.
fn is_framed() -> bool {
    window().frame_element().ok().flatten().is_some()
}

/// In a frame: marks the document for the styles, and follows the look of the page around.
pub fn provide() {
    if !is_embedded() {
        return;
    }
    if let Some(root) = document().document_element() {
        let _ = root.set_attribute("data-embed", "");
    }
    let (i18n, theme) = (use_i18n(), use_theme());
    let closure = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        if Ok(event.origin()) != window().location().origin() {
            return;
        }
        let Some((locale, wanted)) = event.data().as_string().as_deref().and_then(read) else {
            return;
        };
        if i18n.get_locale_untracked() != locale {
            i18n.set_locale(locale);
        }
        if theme.get_untracked() != wanted {
            theme.set(wanted);
        }
    });
    let _ = window().add_event_listener_with_callback("message", closure.as_ref().unchecked_ref());
    // The page lives as long as the frame, and so does its listener.
    closure.forget();
}

/// Tells the page in a frame how this one looks.
pub fn tell(frame: &HtmlIFrameElement, locale: Locale, theme: Theme) {
    if let (Some(inside), Ok(origin)) = (frame.content_window(), window().location().origin()) {
        let _ = inside.post_message(&written(locale, theme).into(), &origin);
    }
}

fn written(locale: Locale, theme: Theme) -> String {
    format!("{LOOK} {locale} {}", theme.as_str())
}

fn read(message: &str) -> Option<(Locale, Theme)> {
    let mut words = message.split(' ');
    let (begin, locale, theme) = (words.next()?, words.next()?, words.next()?);
    let locale = [Locale::en, Locale::zh].into_iter().find(|known| known.to_string() == locale)?;
    let theme = Theme::ALL.into_iter().find(|known| known.as_str() == theme)?;
    (begin == LOOK).then_some((locale, theme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_read_as_it_was_written() {
        for (locale, theme) in [(Locale::zh, Theme::Dark), (Locale::en, Theme::System)] {
            assert_eq!(read(&written(locale, theme)), Some((locale, theme)));
        }
        assert_eq!(read("hearth-look fr dark"), None);
        assert_eq!(read("axe zh dark"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn an_address_asks_for_a_frame() {
        assert_eq!(framed("/lab/cache"), "/lab/cache?embed=1");
        assert_eq!(framed("/lab/cache?batch=8"), "/lab/cache?batch=8&embed=1");
    }
}
