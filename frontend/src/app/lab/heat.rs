//! Heatmaps on canvases: one pixel a cell, enlarged by the browser. Colours come from the theme, numbers from the caller.

use leptos::prelude::*;
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, HtmlCanvasElement, ImageData};

use super::forward::{Forward, Head, Matrix, Step};
use super::publish;

/// Red, green, blue.
type Colour = [f32; 3];

/// The theme's colours for numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Palette {
    zero: Colour,
    above: Colour,
    below: Colour,
    hidden: Colour,
}

impl Palette {
    /// Reads the custom properties of `styles/lab.css` as the browser resolves them now.
    pub fn current() -> Self {
        let read = |name: &str, otherwise: Colour| resolved(name).unwrap_or(otherwise);
        Self {
            zero: read("--heat-zero", [250.0, 247.0, 242.0]),
            above: read("--heat-above", [191.0, 74.0, 22.0]),
            below: read("--heat-below", [43.0, 108.0, 143.0]),
            hidden: read("--heat-hidden", [230.0, 223.0, 212.0]),
        }
    }

    /// `share` from -1 to 1.
    fn at(&self, share: f32) -> Colour {
        let end = if share < 0.0 { self.below } else { self.above };
        let share = share.abs().min(1.0);
        std::array::from_fn(|i| self.zero[i] + (end[i] - self.zero[i]) * share)
    }

    /// What letters are drawn in on the colour of a share: dark on a light one, light on a dark one (BT.601's luma).
    pub fn ink_on(&self, share: f32) -> &'static str {
        let [red, green, blue] = self.at(share);
        if 0.299 * red + 0.587 * green + 0.114 * blue > 140.0 { "#1b1916" } else { "#fffdf8" }
    }

    /// Its colours as pixels: as many steps as a pixel has, on either side of zero.
    fn table(&self) -> [Pixel; 2 * STEPS + 1] {
        std::array::from_fn(|index| pixel(self.at((index as f32 - STEPS as f32) / STEPS as f32)))
    }
}

/// Red, green, blue and opacity.
type Pixel = [u8; 4];

/// Of the colour table, from zero to either end.
const STEPS: usize = 255;

fn pixel(colour: Colour) -> Pixel {
    let [red, green, blue] = colour.map(|part| part.round() as u8);
    [red, green, blue, 255]
}

/// The place of a share, from -1 to 1, in the table.
fn place(share: f32) -> usize {
    (share.clamp(-1.0, 1.0) * STEPS as f32 + STEPS as f32 + 0.5) as usize
}

/// A custom property as the browser computes it: a probe element takes it as its colour, because `light-dark()` has no
/// value of its own.
fn resolved(name: &str) -> Option<Colour> {
    let probe = document().create_element("span").ok()?;
    probe.set_attribute("style", &format!("color: var({name}); display: none")).ok()?;
    document().body()?.append_child(&probe).ok()?;
    let style = window().get_computed_style(&probe).ok()??;
    let colour = style.get_property_value("color").ok();
    probe.remove();
    parse(&colour?)
}

/// `rgb(1, 2, 3)` or `rgb(1 2 3 / 50%)`.
fn parse(text: &str) -> Option<Colour> {
    let inside = text.split_once('(')?.1;
    let mut numbers = inside
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter(|part| !part.is_empty())
        .map(str::parse::<f32>);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

/// How a picture's numbers become colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From `-limit` to `limit`, zero in the middle.
    Around(f32),
    /// Weights from 0 to 1 by their square root, so that small ones are seen too.
    Root,
    /// From 0 to a limit by the square root.
    RootTo(f32),
}

impl Scale {
    /// The scale of a step's picture: as wide as its largest number.
    pub fn of(step: Step, picture: Matrix<'_>) -> Self {
        if step == Step::Weights {
            return Self::Root;
        }
        Self::Around(limit(step, picture))
    }

    /// From -1 to 1.
    pub fn share(self, value: f32) -> f32 {
        match self {
            Self::Around(limit) if limit > 0.0 => value / limit,
            Self::Around(_) => 0.0,
            Self::Root => value.max(0.0).sqrt(),
            Self::RootTo(limit) if limit > 0.0 => (value / limit).max(0.0).sqrt(),
            Self::RootTo(_) => 0.0,
        }
    }
}

/// The largest magnitude shown. Behind the mask nothing is shown.
pub fn limit(step: Step, picture: Matrix<'_>) -> f32 {
    let mut limit = 0.0_f32;
    for row in 0..picture.rows {
        let end = if step == Step::Mask { row + 1 } else { picture.cols };
        for &value in &picture.row(row)[..end.min(picture.cols)] {
            limit = limit.max(value.abs());
        }
    }
    limit
}

/// Paints a step of a head: `picture.cols` × `picture.rows` pixels.
pub fn paint(canvas: &HtmlCanvasElement, forward: &Forward, at: Head, step: Step, palette: Palette) {
    let picture = forward.picture(at, step);
    let (rows, cols) = (picture.rows, picture.cols);
    if rows == 0 || cols == 0 {
        return;
    }
    publish::timed(&format!("heat {rows} x {cols}"), || {
        put(canvas, &pixels(picture, step, palette), cols as u32, rows as u32);
    });
}

/// The pixels of every cell, row by row. A colour is looked up, not mixed: there are many cells.
fn pixels(picture: Matrix<'_>, step: Step, palette: Palette) -> Vec<u8> {
    let scale = Scale::of(step, picture);
    let masked = matches!(step, Step::Mask | Step::Weights);
    let (table, hidden) = (palette.table(), pixel(palette.hidden));
    let mut pixels = vec![0; picture.rows * picture.cols * hidden.len()];
    for (row, line) in pixels.chunks_exact_mut(picture.cols * hidden.len()).enumerate() {
        let shown = if masked { row + 1 } else { picture.cols };
        for (col, (cell, &value)) in line.chunks_exact_mut(hidden.len()).zip(picture.row(row)).enumerate() {
            cell.copy_from_slice(if col < shown { &table[place(scale.share(value))] } else { &hidden });
        }
    }
    pixels
}

/// Paints shares from -1 to 1, `cols` of them a row.
pub fn paint_shares(canvas: &HtmlCanvasElement, shares: &[f32], cols: usize, palette: Palette) {
    let rows = shares.len().checked_div(cols).unwrap_or(0);
    if rows == 0 {
        return;
    }
    let table = palette.table();
    let pixels: Vec<u8> = shares[..rows * cols].iter().flat_map(|share| table[place(*share)]).collect();
    put(canvas, &pixels, cols as u32, rows as u32);
}

fn put(canvas: &HtmlCanvasElement, pixels: &[u8], width: u32, height: u32) {
    if canvas.width() != width {
        canvas.set_width(width);
    }
    if canvas.height() != height {
        canvas.set_height(height);
    }
    let context =
        canvas.get_context("2d").ok().flatten().and_then(|context| context.dyn_into::<CanvasRenderingContext2d>().ok());
    let image = ImageData::new_with_u8_clamped_array_and_sh(Clamped(pixels), width, height);
    if let (Some(context), Ok(image)) = (context, image) {
        // A canvas of our own refuses nothing.
        let _ = context.put_image_data(&image, 0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::lab::forward::tests::small;

    #[test]
    fn colours_parse_in_both_spellings() {
        assert_eq!(parse("rgb(191, 74, 22)"), Some([191.0, 74.0, 22.0]));
        assert_eq!(parse("rgb(1 2 3 / 50%)"), Some([1.0, 2.0, 3.0]));
        assert_eq!(parse("inherit"), None);
    }

    #[test]
    fn the_mask_hides_numbers_from_the_scale() {
        let forward = small();
        let picture = forward.picture(Head::default(), Step::Scores);
        let all = limit(Step::Scores, picture);
        let seen = limit(Step::Mask, picture);
        assert!(seen <= all);
        assert!((0..picture.cols).any(|col| picture.at(0, col).abs() == all) || seen == all);
    }

    #[test]
    fn a_colour_looked_up_is_the_one_that_would_be_mixed() {
        let palette = Palette {
            zero: [250.0, 247.0, 242.0],
            above: [191.0, 74.0, 22.0],
            below: [36.0, 105.0, 148.0],
            hidden: [1.0, 2.0, 3.0],
        };
        let table = palette.table();
        for share in [-2.0, -1.0, -0.731, -0.002, 0.0, 0.0019, 0.5, 0.99, 1.0, 7.0, f32::NAN] {
            let (found, mixed) = (table[place(share)], pixel(palette.at(share)));
            let apart = found.iter().zip(mixed).map(|(a, b)| a.abs_diff(b)).max();
            assert!(share.is_nan() || apart <= Some(1), "{share}: {found:?} instead of {mixed:?}");
        }
    }

    #[test]
    fn scales_map_the_ends_to_the_ends() {
        assert_eq!(Scale::Around(2.0).share(-2.0), -1.0);
        assert_eq!(Scale::Around(0.0).share(3.0), 0.0);
        assert_eq!(Scale::Root.share(0.25), 0.5);
        assert_eq!((Scale::RootTo(4.0).share(1.0), Scale::RootTo(0.0).share(1.0)), (0.5, 0.0));
    }
}
