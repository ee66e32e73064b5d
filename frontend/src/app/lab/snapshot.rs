//! A part of the page as an image: a copy of it with the styles written into it that the page's sheets give it, inside an SVG, which a
//! browser draws without any sheet. Canvases become their pixels. It knows no lab.

use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{CssStyleDeclaration, Element, HtmlCanvasElement, HtmlImageElement, HtmlInputElement, XmlSerializer};

const SVG: &str = "http://www.w3.org/2000/svg";
/// What makes an element look as it does. Sizes are written as the page has them now, so that the copy breaks no line elsewhere.
#[rustfmt::skip]
const STYLES: [&str; 102] = [
    "display", "position", "top", "right", "bottom", "left", "z-index", "box-sizing", "visibility", "opacity", "direction",
    "width", "height", "min-width", "min-height", "max-width", "max-height",
    "margin-top", "margin-right", "margin-bottom", "margin-left",
    "padding-top", "padding-right", "padding-bottom", "padding-left",
    "border-top-width", "border-right-width", "border-bottom-width", "border-left-width",
    "border-top-style", "border-right-style", "border-bottom-style", "border-left-style",
    "border-top-color", "border-right-color", "border-bottom-color", "border-left-color",
    "border-top-left-radius", "border-top-right-radius", "border-bottom-left-radius", "border-bottom-right-radius",
    "border-collapse", "border-spacing", "table-layout", "vertical-align", "list-style-type",
    "outline-width", "outline-style", "outline-color", "outline-offset", "box-shadow",
    "background-color", "background-image", "background-size", "background-position", "background-repeat",
    "overflow-x", "overflow-y", "transform", "transform-origin", "image-rendering", "accent-color",
    "color", "font-family", "font-size", "font-weight", "font-style", "font-variant-numeric", "line-height", "letter-spacing",
    "text-align", "text-decoration-line", "text-overflow", "text-transform", "white-space", "overflow-wrap",
    "flex-direction", "flex-wrap", "flex-grow", "flex-shrink", "flex-basis",
    "align-items", "align-content", "align-self", "justify-content", "justify-items", "justify-self",
    "row-gap", "column-gap", "grid-template-columns", "grid-template-rows", "grid-template-areas",
    "grid-row-start", "grid-row-end", "grid-column-start", "grid-column-end",
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
];
/// The same, in drawings only.
const DRAWN: [&str; 3] = ["stroke-linejoin", "text-anchor", "dominant-baseline"];
/// What serves to use the page and shows nothing. It keeps its place.
const TOOLS: &str = ".button, .icon-button, .stage-tools, .visually-hidden, select";
/// A line of text is less than so many times as high as its letters.
const ONE_LINE: f64 = 2.0;

/// A part of the page, as large as it is in CSS pixels.
///
/// # Errors
/// The browser refuses to draw it.
pub async fn of_part(part: &Element) -> Result<HtmlImageElement, JsValue> {
    let bounds = part.get_bounding_client_rect();
    let [width, height] = [bounds.width(), bounds.height()].map(|side| side.to_string());
    let document = document();
    let svg = document.create_element_ns(Some(SVG), "svg")?;
    let inside = document.create_element_ns(Some(SVG), "foreignObject")?;
    for element in [&svg, &inside] {
        element.set_attribute("width", &width)?;
        element.set_attribute("height", &height)?;
    }
    let copy = copy(part)?;
    let style = copy.get_attribute("style").unwrap_or_default();
    copy.set_attribute("style", &format!("{style}position:relative;inset:auto;margin:0;transform:none;"))?;
    // Fonts are chosen by the language, too: in another one a formula's letters run into its signs.
    if let Some(lang) = document.document_element().and_then(|page| page.get_attribute("lang")) {
        copy.set_attribute("lang", &lang)?;
    }
    inside.append_child(&copy)?;
    svg.append_child(&inside)?;
    load(&svg).await
}

/// An SVG of the page, `size` pixels large.
///
/// # Errors
/// The browser refuses to draw it.
pub async fn of_drawing(drawing: &Element, size: (f64, f64), sharpness: f64) -> Result<HtmlImageElement, JsValue> {
    let copy = copy(drawing)?;
    copy.set_attribute("width", &size.0.to_string())?;
    copy.set_attribute("height", &size.1.to_string())?;
    // The sizes that the page has stand in its style too.
    let style = copy.get_attribute("style").unwrap_or_default();
    copy.set_attribute("style", &format!("{style}width:{}px;height:{}px;", size.0, size.1))?;
    if copy.get_attribute("viewBox").is_none() {
        copy.set_attribute("viewBox", &format!("0 0 {} {}", size.0 / sharpness, size.1 / sharpness))?;
    }
    load(&copy).await
}

async fn load(svg: &Element) -> Result<HtmlImageElement, JsValue> {
    svg.set_attribute("xmlns", SVG)?;
    let text = XmlSerializer::new()?.serialize_to_string(svg)?;
    let text: String = text.chars().filter(|&c| is_xml(c)).collect();
    let image = HtmlImageElement::new()?;
    image.set_src(&format!("data:image/svg+xml;charset=utf-8,{}", String::from(js_sys::encode_uri_component(&text))));
    JsFuture::from(image.decode()).await?;
    Ok(image)
}

/// Whether a character may stand in XML: a token can hold others.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn copy(part: &Element) -> Result<Element, JsValue> {
    let copy: Element = part.clone_node_with_deep(true)?.dyn_into()?;
    write_styles(part, &copy)?;
    Ok(copy)
}

/// Gives every element of the copy the styles that its original has on the page.
fn write_styles(from: &Element, to: &Element) -> Result<(), JsValue> {
    let in_drawing = from.namespace_uri().as_deref() == Some(SVG);
    if let Some(style) = window().get_computed_style(from)? {
        to.set_attribute("style", &(written(&style, in_drawing)? + &amended(from, &style)?))?;
    }
    if let (Some(input), true) = (from.dyn_ref::<HtmlInputElement>(), to.is_instance_of::<HtmlInputElement>()) {
        to.set_attribute("value", &input.value())?;
    }
    let (originals, copies) = (from.children(), to.children());
    for at in 0..originals.length() {
        let (Some(original), Some(copied)) = (originals.item(at), copies.item(at)) else {
            continue;
        };
        write_styles(&original, &copied)?;
        if let Some(canvas) = original.dyn_ref::<HtmlCanvasElement>() {
            let drawn = pixels(canvas, &copied)?;
            to.replace_child(&drawn, &copied)?;
        }
    }
    if !in_drawing {
        if let Some(mark) = mark(from, "::before")? {
            to.insert_before(&mark, to.first_child().as_ref())?;
        }
        if let Some(mark) = mark(from, "::after")? {
            to.append_child(&mark)?;
        }
    }
    Ok(())
}

fn written(style: &CssStyleDeclaration, in_drawing: bool) -> Result<String, JsValue> {
    let mut written = String::new();
    for name in STYLES.iter().chain(DRAWN.iter().filter(|_| in_drawing)) {
        written += &format!("{name}:{};", style.get_property_value(name)?);
    }
    Ok(written)
}

/// What a sheet puts before or after an element's content, as an element: marks of a legend are made so.
fn mark(from: &Element, place: &str) -> Result<Option<Element>, JsValue> {
    let Some(style) = window().get_computed_style_with_pseudo_elt(from, place)? else {
        return Ok(None);
    };
    let content = style.get_property_value("content")?;
    let Some(text) = content.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return Ok(None);
    };
    let mark = document().create_element("span")?;
    mark.set_attribute("style", &written(&style, false)?)?;
    mark.set_text_content(Some(text));
    Ok(Some(mark))
}

/// An image of what is drawn on a canvas, in the place of its copy, which is empty.
fn pixels(canvas: &HtmlCanvasElement, copied: &Element) -> Result<Element, JsValue> {
    let image = document().create_element("img")?;
    image.set_attribute("style", &copied.get_attribute("style").unwrap_or_default())?;
    if canvas.width() > 0 && canvas.height() > 0 {
        image.set_attribute("src", &canvas.to_data_url()?)?;
    } else {
        image.set_attribute("style", "display:none")?;
    }
    Ok(image)
}

/// Where the copy must differ from its original to look like it: nothing in it is scrolled, and nothing sticks.
fn amended(from: &Element, style: &CssStyleDeclaration) -> Result<String, JsValue> {
    let value = |name: &str| style.get_property_value(name);
    let mut written = String::new();
    if from.matches(TOOLS)? {
        // Its parts have a visibility of their own in the copy.
        written += "opacity:0;";
    }
    if can_scroll(style)? {
        written += "overflow:hidden;";
        if value("position")? == "static" {
            written += "position:relative;inset:auto;";
        }
    }
    let stands = if value("position")? == "sticky" { unstuck(from, &value("display")?)? } else { None };
    if let Some(place) = &stands {
        written += place;
    } else {
        if value("position")? == "sticky" {
            written += "position:relative;inset:auto;";
        }
        if let Some(around) = from.parent_element().filter(is_scrolled) {
            written += &moved(&value("transform")?, [around.scroll_left(), around.scroll_top()]);
        }
    }
    if from.tag_name() == "TABLE" {
        // Its height counts a caption in, which the copy would set on top of it.
        written += "height:auto;";
    }
    let bounds = from.get_bounding_client_rect();
    let one_line = bounds.height() < ONE_LINE * number(&value("font-size")?);
    if from.child_element_count() == 0 && one_line && value("white-space")? == "normal" {
        written += "white-space:nowrap;";
    }
    Ok(written)
}

/// What is in a scrolled box goes back by as much as the box is scrolled, every part of it by itself: in a row margins would add up.
fn moved(transform: &str, [left, top]: [i32; 2]) -> String {
    let way = format!("translate({}px,{}px)", -left, -top);
    if transform == "none" { format!("transform:{way};") } else { format!("transform:{way} {transform};") }
}

fn is_scrolled(element: &Element) -> bool {
    element.scroll_left() != 0 || element.scroll_top() != 0
}

fn can_scroll(style: &CssStyleDeclaration) -> Result<bool, JsValue> {
    let ways = [style.get_property_value("overflow-x")?, style.get_property_value("overflow-y")?];
    Ok(ways.iter().any(|way| way == "auto" || way == "scroll"))
}

/// The box that something in it sticks to: the nearest that holds more than it shows.
fn scroller(from: &Element) -> Result<Option<Element>, JsValue> {
    let mut around = from.parent_element();
    while let Some(here) = around {
        let holds_more = here.scroll_width() > here.client_width() || here.scroll_height() > here.client_height();
        if holds_more
            && let Some(style) = window().get_computed_style(&here)?
            && can_scroll(&style)?
        {
            return Ok(Some(here));
        }
        around = here.parent_element();
    }
    Ok(None)
}

/// What sticks to the edge of a box stands where it is seen. None without more in the box than it shows: then it is an element like
/// others.
fn unstuck(from: &Element, display: &str) -> Result<Option<String>, JsValue> {
    if display.starts_with("table") || scroller(from)?.is_none() {
        return Ok(None);
    }
    let Some(around) = holder(from)? else {
        return Ok(None);
    };
    let (frame, own) = (around.get_bounding_client_rect(), from.get_bounding_client_rect());
    let left = own.left() - frame.left() - f64::from(around.client_left());
    let top = own.top() - frame.top() - f64::from(around.client_top());
    // Without an area of its own in a grid: its place would be counted from there.
    Ok(Some(format!("position:absolute;inset:auto;grid-area:auto;left:{left}px;top:{top}px;")))
}

/// What the place of an element is counted from in the copy, where boxes that can scroll are placed and what was scrolled is moved.
fn holder(from: &Element) -> Result<Option<Element>, JsValue> {
    let mut around = from.parent_element();
    while let Some(here) = around {
        let Some(style) = window().get_computed_style(&here)? else {
            return Ok(None);
        };
        let is_moved = here.parent_element().as_ref().is_some_and(is_scrolled);
        let is_placed = style.get_property_value("position")? != "static";
        let is_turned = style.get_property_value("transform")? != "none";
        if is_moved || is_placed || is_turned || can_scroll(&style)? {
            return Ok(Some(here));
        }
        around = here.parent_element();
    }
    Ok(None)
}

/// `12.5px` as 12.5.
fn number(value: &str) -> f64 {
    value.trim_end_matches("px").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_words_are_nothing() {
        assert_eq!(["12.5px", "-3px", "auto", ""].map(number), [12.5, -3.0, 0.0, 0.0]);
    }

    #[test]
    fn what_was_scrolled_is_moved_before_it_is_turned() {
        assert_eq!(moved("none", [120, 0]), "transform:translate(-120px,0px);");
        assert_eq!(moved("rotate(1rad)", [8, 3]), "transform:translate(-8px,-3px) rotate(1rad);");
    }

    #[test]
    fn areas_go_with_the_elements_that_are_named_by_them() {
        let named = ["grid-template-areas", "grid-row-start", "grid-row-end", "grid-column-start", "grid-column-end"];
        assert!(named.iter().all(|name| STYLES.contains(name)));
    }

    #[test]
    fn what_xml_forbids_is_left_out() {
        let kept: String = "a\u{0}\u{1b}b\n字\u{fffe}👩".chars().filter(|&c| is_xml(c)).collect();
        assert_eq!(kept, "ab\n字👩");
    }
}
