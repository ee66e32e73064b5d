//! A chapter's Markdown as HTML. Raw HTML in it is dropped; a block `math` is a formula in plain text; a link to `lab:` opens its address in
//! the frame beside the text. Pure text.

use hearth_shared::learn::chapter::escaped;
use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd, html::push_html};

use crate::app::embed;

/// The frame's name, which links name as their target.
pub const FRAME: &str = "hearth-lab";
/// Begins a link that opens a lab in the frame.
const LAB: &str = "lab:";
const MATH: &str = "math";

#[must_use]
pub fn html(markdown: &str) -> String {
    let mut in_formula = false;
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    push_html(&mut out, Parser::new(markdown).filter_map(|event| shown(event, &mut in_formula)));
    out
}

fn shown<'a>(event: Event<'a>, in_formula: &mut bool) -> Option<Event<'a>> {
    match event {
        Event::Html(_) | Event::InlineHtml(_) | Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(name))) if &*name == MATH => {
            *in_formula = true;
            Some(Event::Html("<p class=\"learn-math\">".into()))
        }
        Event::End(TagEnd::CodeBlock) if *in_formula => {
            *in_formula = false;
            Some(Event::Html("</p>\n".into()))
        }
        Event::Start(Tag::Link { dest_url, .. }) => Some(Event::InlineHtml(opening(&dest_url).into())),
        event => Some(event),
    }
}

/// Where a link leads: into the frame, to another place of the page, or away from it. Anything else leads nowhere.
fn opening(address: &str) -> String {
    match address.strip_prefix(LAB) {
        Some(lab) if lab.starts_with("/lab/") => {
            format!("<a class=\"learn-try\" target=\"{FRAME}\" href=\"{}\">", escaped(&embed::framed(lab)))
        }
        None if address.starts_with("https://") => {
            format!("<a target=\"_blank\" rel=\"noopener noreferrer\" href=\"{}\">", escaped(address))
        }
        None if address.starts_with('/') && !address.starts_with("//") => {
            format!("<a href=\"{}\">", escaped(address))
        }
        _ => "<a>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html_without_any_of_its_own() {
        let text = "## A\n\nOne *two* `a < b`.\n\n<script>x</script>\n\nA <b onclick=\"x\">c</b>.";
        assert_eq!(html(text), "<h2>A</h2>\n<p>One <em>two</em> <code>a &lt; b</code>.</p>\n<p>A c.</p>\n");
    }

    #[test]
    fn a_formula_is_plain_text() {
        assert_eq!(html("```math\na < b\nc\n```"), "<p class=\"learn-math\">a &lt; b\nc\n</p>\n");
        assert!(html("```\nx\n```").starts_with("<pre><code>"));
    }

    #[test]
    fn links_lead_into_the_frame_or_away() {
        let lab = "<a class=\"learn-try\" target=\"hearth-lab\" href=\"/lab/cache?batch=8&amp;embed=1\">x</a>";
        assert_eq!(html("[x](lab:/lab/cache?batch=8)"), format!("<p>{lab}</p>\n"));
        let away = "<a target=\"_blank\" rel=\"noopener noreferrer\" href=\"https://arxiv.org/abs/1706.03762\">x</a>";
        assert_eq!(html("[x](https://arxiv.org/abs/1706.03762)"), format!("<p>{away}</p>\n"));
        assert_eq!(html("[x](/fine-tune/new)"), "<p><a href=\"/fine-tune/new\">x</a></p>\n");
        for nowhere in ["javascript:x", "//evil.example", "lab:https://evil.example", "lab:/playground"] {
            assert_eq!(html(&format!("[x]({nowhere})")), "<p><a>x</a></p>\n", "{nowhere}");
        }
    }
}
