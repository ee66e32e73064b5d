//! A lab's picture as a PNG file: the card around its largest drawing, or the part of the page that says it is one, with all its words,
//! under the page's title. It knows no lab.

use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement};

use super::snapshot;
use crate::app::download;

/// Where drawings are: icons have no role of their own.
const DRAWINGS: &str = "main canvas:not(.cell-numbers), main svg[role=img], main svg[role=group], main .chart svg";
/// CSS pixels; what is smaller is an ornament.
const LEAST: (f64, f64) = (160.0, 80.0);
/// Pixels of the file for each CSS pixel.
const SHARPNESS: f64 = 2.0;
/// Pixels of a file's longer side: browsers refuse to draw larger ones.
const LONGEST: f64 = 8_000.0;
/// CSS pixels around the picture, and those of the line above it.
const MARGIN: f64 = 24.0;
const TITLE: f64 = 28.0;
/// CSS pixels of the title's letters.
const LETTERS: f64 = 15.0;

/// Saves the lab's picture as `name`; false where there is none.
///
/// # Errors
/// The browser refuses to draw it.
pub async fn save(name: &str) -> Result<bool, JsValue> {
    let drawing = largest();
    let Some(part) = marked().or_else(|| drawing.as_ref().map(around)) else {
        return Ok(false);
    };
    let url = match (whole(&part).await, &drawing) {
        (Ok(url), _) => url,
        // Some browsers give back no pixels of what they drew of a page; the drawing alone they do.
        (Err(_), Some(drawing)) => bare(drawing).await?,
        (Err(error), None) => return Err(error),
    };
    download::save_url(&url, name);
    Ok(true)
}

/// A part of the page under the title of the page, and the model that is open.
async fn whole(part: &Element) -> Result<String, JsValue> {
    let bounds = part.get_bounding_client_rect();
    let (width, height) = (bounds.width() + 2.0 * MARGIN, bounds.height() + 2.0 * MARGIN + TITLE);
    let sharp = SHARPNESS.min(LONGEST / width.max(height));
    let (canvas, context) = sheet((width * sharp, height * sharp), part)?;
    let image = snapshot::of_part(part).await?;
    context.scale(sharp, sharp)?;
    if let Some(style) = window().get_computed_style(part)? {
        context.set_font(&format!("600 {LETTERS}px {}", style.get_property_value("font-family")?));
        context.set_fill_style_str(&style.get_property_value("color")?);
        context.fill_text_with_max_width(&title(), MARGIN, MARGIN + LETTERS, bounds.width())?;
    }
    let (left, top) = (MARGIN, MARGIN + TITLE);
    context.draw_image_with_html_image_element_and_dw_and_dh(&image, left, top, bounds.width(), bounds.height())?;
    canvas.to_data_url()
}

fn title() -> String {
    let found = |css: &str| document().query_selector(css).ok().flatten();
    let heading = found("main h1").and_then(|heading| heading.text_content());
    let model = found("main [data-model]").and_then(|lab| lab.get_attribute("data-model"));
    [heading, model].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// A canvas as it is, an SVG as it looks.
async fn bare(drawing: &Element) -> Result<String, JsValue> {
    let bounds = drawing.get_bounding_client_rect();
    let size = (bounds.width() * SHARPNESS, bounds.height() * SHARPNESS);
    let (canvas, context) = sheet(size, drawing)?;
    if let Some(drawn) = drawing.dyn_ref::<HtmlCanvasElement>() {
        // One pixel a cell, enlarged as the page does it.
        context.set_image_smoothing_enabled(false);
        context.draw_image_with_html_canvas_element_and_dw_and_dh(drawn, 0.0, 0.0, size.0, size.1)?;
    } else {
        let image = snapshot::of_drawing(drawing, size, SHARPNESS).await?;
        context.draw_image_with_html_image_element_and_dw_and_dh(&image, 0.0, 0.0, size.0, size.1)?;
    }
    canvas.to_data_url()
}

/// What a lab without drawings shows.
fn marked() -> Option<Element> {
    document().query_selector("main [data-picture]").ok().flatten()
}

/// The card that a drawing is in: its title, its legend and its labels are there.
fn around(drawing: &Element) -> Element {
    let card = |css: &str| drawing.closest(css).ok().flatten();
    card(".card").or_else(|| card("section, figure")).unwrap_or_else(|| drawing.clone())
}

fn largest() -> Option<Element> {
    let found = document().query_selector_all(DRAWINGS).ok()?;
    let drawings = (0..found.length()).filter_map(|at| found.item(at)?.dyn_into::<Element>().ok());
    let area = |drawing: &Element| {
        let bounds = drawing.get_bounding_client_rect();
        let large = bounds.width() >= LEAST.0 && bounds.height() >= LEAST.1;
        if large { bounds.width() * bounds.height() } else { 0.0 }
    };
    drawings
        .map(|drawing| (area(&drawing), drawing))
        .filter(|(area, _)| *area > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, drawing)| drawing)
}

/// An empty canvas in the colour that the drawing lies on.
fn sheet(size: (f64, f64), drawing: &Element) -> Result<(HtmlCanvasElement, CanvasRenderingContext2d), JsValue> {
    let canvas: HtmlCanvasElement = document().create_element("canvas")?.unchecked_into();
    canvas.set_width(size.0.round() as u32);
    canvas.set_height(size.1.round() as u32);
    let context = canvas.get_context("2d")?.ok_or(JsValue::UNDEFINED)?.dyn_into::<CanvasRenderingContext2d>()?;
    context.set_fill_style_str(&ground(drawing));
    context.fill_rect(0.0, 0.0, size.0, size.1);
    Ok((canvas, context))
}

/// The nearest background that is one.
fn ground(drawing: &Element) -> String {
    let mut element = Some(drawing.clone());
    while let Some(here) = element {
        if let Ok(Some(style)) = window().get_computed_style(&here)
            && let Ok(colour) = style.get_property_value("background-color")
            && !colour.is_empty()
            && colour != "rgba(0, 0, 0, 0)"
            && colour != "transparent"
        {
            return colour;
        }
        element = here.parent_element();
    }
    "white".to_owned()
}
