//! The icons, drawn for this page on a 24 by 24 grid with round strokes.

use leptos::prelude::*;

/// An icon in the colour of the text beside it. It is decoration: whatever it stands on carries the words.
#[component]
pub fn Icon(#[prop(into)] name: Signal<&'static str>, #[prop(default = 20)] size: u32) -> impl IntoView {
    view! {
        <svg
            class="icon"
            width=size
            height=size
            viewBox="0 0 24 24"
            fill="none"
            stroke="currentColor"
            stroke-width="1.7"
            stroke-linecap="round"
            stroke-linejoin="round"
            aria-hidden="true"
            focusable="false"
            inner_html=move || paths(name.get())
        ></svg>
    }
}

/// The mark: a flame under a roof's gable.
#[component]
pub fn Mark(#[prop(default = 28)] size: u32) -> impl IntoView {
    view! {
        <svg class="mark" width=size height=size viewBox="0 0 32 32" aria-hidden="true" focusable="false">
            <path
                d="M16 2.6 3.4 12.2V27a2.4 2.4 0 0 0 2.4 2.4h20.4a2.4 2.4 0 0 0 2.4-2.4V12.2z"
                fill="var(--mark-house)"
            ></path>
            <path
                d="M16.4 10.2c.5 3.3-4.9 5.5-4.9 10.1a4.9 4.9 0 0 0 9.8.1c0-1.7-.7-2.9-1.5-4-.3 1-.8 1.6-1.6 2 .5-3.3-.2-6.3-1.8-8.2z"
                fill="var(--mark-flame)"
            ></path>
            <path
                d="M16.3 19.3c.2 1.5-1.9 2.1-1.9 4a2 2 0 0 0 4 0c0-1.6-1.2-2.4-2.1-4z"
                fill="var(--mark-core)"
            ></path>
        </svg>
    }
}

/// A dot for a name that is not drawn.
fn paths(name: &str) -> &'static str {
    PATHS.iter().find(|(drawn, _)| *drawn == name).map_or(r#"<circle cx="12" cy="12" r="3"/>"#, |(_, paths)| paths)
}

const PATHS: [(&str, &str); 44] = [
    ("plan", r#"<path d="M4 19.5h16"/><path d="M6.5 16v-4M11 16V7.5M15.5 16v-6M20 16V4.5"/>"#),
    ("home", r#"<path d="M4 11.2 12 4.5l8 6.7"/><path d="M6 9.8V19.5h12V9.8"/><path d="M10 19.5v-5h4v5"/>"#),
    (
        "lab",
        r#"<rect x="3.5" y="3.5" width="17" height="17" rx="3"/><path d="M3.5 9.2h17M3.5 14.8h17M9.2 3.5v17M14.8 3.5v17"/><rect x="9.2" y="9.2" width="5.6" height="5.6" fill="currentColor" stroke="none"/>"#,
    ),
    (
        "learn",
        r#"<path d="M12 6.8C10 5.3 7.3 4.8 3.8 4.8v12.6c3.5 0 6.2.5 8.2 2 2-1.5 4.7-2 8.2-2V4.8c-3.5 0-6.2.5-8.2 2z"/><path d="M12 6.8v12.6"/>"#,
    ),
    (
        "chat",
        r#"<path d="M20.5 11.5c0 4-3.8 7.2-8.5 7.2-1 0-2-.15-2.9-.42L4.5 20l1.3-3.7C4.4 15 3.5 13.3 3.5 11.5c0-4 3.8-7.2 8.5-7.2s8.5 3.2 8.5 7.2z"/><path d="M8.5 10.3h7M8.5 13.3h4.5"/>"#,
    ),
    (
        "tune",
        r#"<path d="M12.3 3.5c.6 4.2-5.8 6.4-5.8 11.2a5.5 5.5 0 0 0 11 0c0-2-.9-3.5-1.9-4.7-.2 1.3-.9 2.2-1.9 2.7.5-3.6.1-6.7-1.4-9.2z"/>"#,
    ),
    (
        "sun",
        r#"<circle cx="12" cy="12" r="3.8"/><path d="M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4"/>"#,
    ),
    ("moon", r#"<path d="M19.5 14.3A8 8 0 0 1 9.7 4.5a8 8 0 1 0 9.8 9.8z"/>"#),
    ("monitor", r#"<rect x="3.5" y="4.5" width="17" height="11.5" rx="2"/><path d="M9 20h6M12 16v4"/>"#),
    (
        "globe",
        r#"<circle cx="12" cy="12" r="8.5"/><path d="M3.5 12h17M12 3.5c2.6 2.4 3.8 5.2 3.8 8.5s-1.2 6.1-3.8 8.5c-2.6-2.4-3.8-5.2-3.8-8.5s1.2-6.1 3.8-8.5z"/>"#,
    ),
    (
        "cpu",
        r#"<rect x="6.5" y="6.5" width="11" height="11" rx="2"/><rect x="10" y="10" width="4" height="4" rx=".8"/><path d="M9.5 3.5v3M14.5 3.5v3M9.5 17.5v3M14.5 17.5v3M3.5 9.5h3M3.5 14.5h3M17.5 9.5h3M17.5 14.5h3"/>"#,
    ),
    (
        "memory",
        r#"<rect x="3" y="7" width="18" height="9" rx="1.8"/><path d="M7 10v3M10.3 10v3M13.7 10v3M17 10v3M6 16v2.5M10 16v2.5M14 16v2.5M18 16v2.5"/>"#,
    ),
    (
        "disk",
        r#"<path d="M4 13.5 6.3 6.3A2 2 0 0 1 8.2 5h7.6a2 2 0 0 1 1.9 1.3L20 13.5V17a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z"/><path d="M4 13.5h16M16.5 16.3h.01"/>"#,
    ),
    ("cube", r#"<path d="M12 3.3 4.5 7.5v9L12 20.7l7.5-4.2v-9z"/><path d="M4.5 7.5 12 11.7l7.5-4.2M12 11.7v9"/>"#),
    ("download", r#"<path d="M12 4v10.5M7.5 10.5 12 15l4.5-4.5"/><path d="M4.5 19.5h15"/>"#),
    (
        "image",
        r#"<rect x="4" y="5" width="16" height="14" rx="2"/><circle cx="9" cy="10" r="1.6"/><path d="m5 17.5 4.8-4.2 3.2 2.7 3-2.6 3.5 3.1"/>"#,
    ),
    (
        "upload",
        r#"<path d="M12 15V4.5M7.5 8.8 12 4.3l4.5 4.5"/><path d="M4.5 15v3a2 2 0 0 0 2 2h11a2 2 0 0 0 2-2v-3"/>"#,
    ),
    ("play", r#"<path d="M8 5.2v13.6l11-6.8z" fill="currentColor"/>"#),
    ("pause", r#"<path d="M8.5 5.5v13M15.5 5.5v13" stroke-width="2.8"/>"#),
    ("stop", r#"<rect x="6.5" y="6.5" width="11" height="11" rx="2" fill="currentColor"/>"#),
    (
        "copy",
        r#"<rect x="8.5" y="8.5" width="11" height="11" rx="2"/><path d="M15.5 8.5v-2a2 2 0 0 0-2-2h-7a2 2 0 0 0-2 2v7a2 2 0 0 0 2 2h2"/>"#,
    ),
    ("retry", r#"<path d="M19.5 12a7.5 7.5 0 1 1-2.4-5.5"/><path d="M19.7 3.8v4h-4"/>"#),
    (
        "trash",
        r#"<path d="M4.5 7h15M9.5 7V5a1 1 0 0 1 1-1h3a1 1 0 0 1 1 1v2M6.5 7l.8 11.2a2 2 0 0 0 2 1.8h5.4a2 2 0 0 0 2-1.8L17.5 7M10.3 11v5M13.7 11v5"/>"#,
    ),
    ("plus", r#"<path d="M12 5v14M5 12h14"/>"#),
    ("minus", r#"<path d="M5 12h14"/>"#),
    ("check", r#"<path d="m5 12.8 4.6 4.5L19 7.5"/>"#),
    ("warn", r#"<path d="M12 4.2 3.3 19.3h17.4z"/><path d="M12 10v4.2M12 16.8h.01"/>"#),
    ("info", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 11.2v5M12 8h.01"/>"#),
    ("close", r#"<path d="m6 6 12 12M18 6 6 18"/>"#),
    ("arrow", r#"<path d="M4.5 12h15M13.5 6l6 6-6 6"/>"#),
    ("back", r#"<path d="M19.5 12h-15M10.5 6l-6 6 6 6"/>"#),
    ("down", r#"<path d="m6.5 9.5 5.5 5.5 5.5-5.5"/>"#),
    (
        "sliders",
        r#"<path d="M4 7.5h9M17.5 7.5H20M4 16.5h3M11.5 16.5H20"/><circle cx="15.2" cy="7.5" r="2.2"/><circle cx="9.2" cy="16.5" r="2.2"/>"#,
    ),
    ("columns", r#"<rect x="3.5" y="4.5" width="17" height="15" rx="2.5"/><path d="M12 4.5v15"/>"#),
    ("send", r#"<path d="M12 19.5v-15M5.5 10.8 12 4.3l6.5 6.5"/>"#),
    ("compass", r#"<circle cx="12" cy="12" r="8.5"/><path d="m15.3 8.7-1.9 4.7-4.7 1.9 1.9-4.7z"/>"#),
    (
        "file",
        r#"<path d="M13.5 3.5H7.5a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2h9a2 2 0 0 0 2-2v-10z"/><path d="M13.5 3.5v5h5M9 13h6M9 16.3h4"/>"#,
    ),
    ("clock", r#"<circle cx="12" cy="12" r="8.5"/><path d="M12 7.2V12l3.2 2"/>"#),
    ("key", r#"<circle cx="8" cy="15.5" r="4"/><path d="m11 12.7 8-8M15.5 8.3l2.7 2.7"/>"#),
    (
        "eye",
        r#"<path d="M2.8 12S6 5.8 12 5.8 21.2 12 21.2 12 18 18.2 12 18.2 2.8 12 2.8 12z"/><circle cx="12" cy="12" r="2.8"/>"#,
    ),
    ("chart", r#"<path d="M4 4.5v13a2 2 0 0 0 2 2h14"/><path d="M7.5 8c2.5 5.8 5.8 7 11.5 7.3"/>"#),
    (
        "cloud-off",
        r#"<path d="M8.2 8.1A5 5 0 0 1 16.8 11a3.8 3.8 0 0 1 2.4 6.6M16 18.5H7.5a4 4 0 0 1-.9-7.9M4 4l16 16"/>"#,
    ),
    (
        "dice",
        r#"<rect x="4" y="4" width="16" height="16" rx="3.5"/><path d="M8.6 8.6h.01M15.4 8.6h.01M12 12h.01M8.6 15.4h.01M15.4 15.4h.01" stroke-width="2.6"/>"#,
    ),
    ("note", r#"<path d="M5.5 4.5h13v10l-5 5h-8z"/><path d="M13.5 19.5v-5h5M8.5 8.5h7M8.5 12h4"/>"#),
];
