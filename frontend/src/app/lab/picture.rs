//! A lab's drawing as a PNG file: a canvas as it is, an SVG with the styles written into it that the page's sheets give it. It
//! knows no lab.

use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{CanvasRenderingContext2d, Element, HtmlCanvasElement, HtmlImageElement, XmlSerializer};

use crate::app::download;

/// What sets a drawing apart from its bare shapes.
const STYLES: [&str; 14] = [
    "fill",
    "fill-opacity",
    "stroke",
    "stroke-width",
    "stroke-opacity",
    "stroke-dasharray",
    "stroke-linejoin",
    "opacity",
    "font-family",
    "font-size",
    "font-weight",
    "text-anchor",
    "dominant-baseline",
    "display",
];
/// Where drawings are: icons have no role of their own.
const DRAWINGS: &str = "main canvas:not(.cell-numbers), main svg[role=img], main svg[role=group], main .chart svg";
/// CSS pixels; what is smaller is an ornament.
const LEAST: (f64, f64) = (160.0, 80.0);
/// Pixels of the file for each CSS pixel.
const SHARPNESS: f64 = 2.0;

/// Saves the lab's largest drawing as `name`; false where there is none.
///
/// # Errors
/// The browser refuses to draw it.
pub async fn save(name: &str) -> Result<bool, JsValue> {
    let Some(drawing) = largest() else {
        return Ok(false);
    };
    let bounds = drawing.get_bounding_client_rect();
    let size = (bounds.width() * SHARPNESS, bounds.height() * SHARPNESS);
    let (canvas, context) = sheet(size, &drawing)?;
    if let Some(drawn) = drawing.dyn_ref::<HtmlCanvasElement>() {
        // One pixel a cell, enlarged as the page does it.
        context.set_image_smoothing_enabled(false);
        context.draw_image_with_html_canvas_element_and_dw_and_dh(drawn, 0.0, 0.0, size.0, size.1)?;
    } else {
        let image = image(&drawing, size).await?;
        context.draw_image_with_html_image_element_and_dw_and_dh(&image, 0.0, 0.0, size.0, size.1)?;
    }
    download::save_url(&canvas.to_data_url()?, name);
    Ok(true)
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

/// The drawing as an image that needs no style sheet.
async fn image(drawing: &Element, size: (f64, f64)) -> Result<HtmlImageElement, JsValue> {
    let copy: Element = drawing.clone_node_with_deep(true)?.dyn_into()?;
    write_styles(drawing, &copy)?;
    copy.set_attribute("xmlns", "http://www.w3.org/2000/svg")?;
    copy.set_attribute("width", &size.0.to_string())?;
    copy.set_attribute("height", &size.1.to_string())?;
    if copy.get_attribute("viewBox").is_none() {
        let (width, height) = (size.0 / SHARPNESS, size.1 / SHARPNESS);
        copy.set_attribute("viewBox", &format!("0 0 {width} {height}"))?;
    }
    let text = XmlSerializer::new()?.serialize_to_string(&copy)?;
    let image = HtmlImageElement::new()?;
    image.set_src(&format!("data:image/svg+xml;charset=utf-8,{}", String::from(js_sys::encode_uri_component(&text))));
    JsFuture::from(image.decode()).await?;
    Ok(image)
}

/// Gives every element of the copy the styles that its original has on the page.
fn write_styles(from: &Element, to: &Element) -> Result<(), JsValue> {
    if let Some(style) = window().get_computed_style(from)? {
        let mut written = String::new();
        for name in STYLES {
            written += &format!("{name}:{};", style.get_property_value(name)?);
        }
        to.set_attribute("style", &written)?;
    }
    let (originals, copies) = (from.children(), to.children());
    for at in 0..originals.length() {
        if let (Some(original), Some(copy)) = (originals.item(at), copies.item(at)) {
            write_styles(&original, &copy)?;
        }
    }
    Ok(())
}
