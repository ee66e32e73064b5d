//! Light, dark, or whatever the system says. `index.html` applies the stored choice before the first paint; this changes it.

use leptos::prelude::*;

use super::client::storage;

const KEY: &str = "hearth.theme";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn stored() -> Self {
        let stored = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
        Self::ALL.into_iter().find(|theme| Some(theme.as_str()) == stored.as_deref()).unwrap_or_default()
    }
}

/// The chosen theme; setting it repaints the page and remembers the choice.
#[derive(Clone, Copy)]
pub struct ThemeChoice(pub RwSignal<Theme>);

pub fn provide() {
    let choice = RwSignal::new(Theme::stored());
    Effect::new(move |_| {
        let theme = choice.get();
        if let Some(root) = document().document_element() {
            let _ = match theme {
                Theme::System => root.remove_attribute("data-theme"),
                fixed => root.set_attribute("data-theme", fixed.as_str()),
            };
        }
        if let Some(storage) = storage() {
            let _ = storage.set_item(KEY, theme.as_str());
        }
    });
    provide_context(ThemeChoice(choice));
}

pub fn use_theme() -> RwSignal<Theme> {
    expect_context::<ThemeChoice>().0
}

/// Whether the page is dark now, for canvases that paint their own colours.
pub fn is_dark() -> bool {
    match use_context::<ThemeChoice>().map(|choice| choice.0.get()) {
        Some(Theme::Dark) => true,
        Some(Theme::Light) => false,
        _ => window().match_media("(prefers-color-scheme: dark)").ok().flatten().is_some_and(|query| query.matches()),
    }
}
