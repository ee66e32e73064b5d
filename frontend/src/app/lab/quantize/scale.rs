//! Where the cloud's points go, which of them nothing beats, which numbers stand at its axes, and where a name has room
//! between them. Pure; it draws nothing.

use super::summary::VAST;
use crate::app::components::chart::{log_ticks, ticks};
use crate::app::format;

/// Of the drawing, until it is known how wide its place is.
pub const WIDTH: f64 = 720.0;
pub const HEIGHT: f64 = 260.0;
pub const LEFT: f64 = 58.0;
pub const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 30.0;
/// A range of perplexities with more than this between its ends has its marks at 1, 2, 5 and their powers of ten.
const WIDE: f64 = 5.0;
/// Of the drawing for each size at its axis.
const APART: f64 = 96.0;
/// Of a letter, and of a sign as wide as it is high.
const LETTER: f64 = 6.4;
const SQUARE: f64 = 11.5;
/// Around a point, and around the line.
const CLEAR: f64 = 8.0;
const CLEAR_LINE: f64 = 2.0;
/// Places of a piece of the line that are looked at.
const STEPS: u32 = 32;

/// Those that no other point beats in size and loss, by size.
pub fn frontier(points: &[(u64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| points[a].0.cmp(&points[b].0).then(points[a].1.total_cmp(&points[b].1)));
    let mut least = f64::INFINITY;
    order.retain(|&i| {
        let better = points[i].1 < least;
        least = least.min(points[i].1);
        better
    });
    order
}

/// Where values go: size from nothing to the whole, perplexity by its logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Of the drawing.
    pub width: f64,
    bytes: f64,
    nll: (f64, f64),
}

impl Scale {
    /// For points of these sizes and losses beside the model as it is, in a drawing of this width.
    pub fn of(points: &[(u64, f64)], full: u64, base: f64, width: f64) -> Self {
        let nll = points.iter().fold((base, base), |(low, high), (_, nll)| (low.min(*nll), high.max(*nll)));
        let margin = ((nll.1 - nll.0) * 0.08).max(0.01);
        Self { width, bytes: full as f64 * 1.04, nll: (nll.0 - margin, nll.1 + margin) }
    }

    pub fn x(self, bytes: f64) -> f64 {
        LEFT + bytes / self.bytes * (self.width - LEFT - RIGHT)
    }

    pub fn y(self, nll: f64) -> f64 {
        TOP + (self.nll.1 - nll) / (self.nll.1 - self.nll.0) * (HEIGHT - TOP - BOTTOM)
    }

    /// Round sizes and their places.
    pub fn columns(self) -> Vec<(f64, String)> {
        let sizes = ticks((0.0, self.bytes), (self.width / APART).clamp(2.0, 6.0).floor());
        sizes.into_iter().map(|size| (self.x(size), format::bytes(size.round() as u64))).collect()
    }

    /// Round perplexities and their places.
    pub fn rows(self) -> Vec<(f64, String)> {
        let (low, high) = self.nll;
        let round = if high - low > WIDE.ln() {
            log_ticks((low / std::f64::consts::LN_10, high / std::f64::consts::LN_10), 5.0)
        } else {
            ticks((low.exp(), high.exp()), 4.0)
        };
        let digits = digits(&round);
        round.into_iter().map(|value| (self.y(value.ln()), mark(value, digits))).collect()
    }
}

/// How many places behind the point tell these apart.
fn digits(values: &[f64]) -> usize {
    let whole = |digits: i32, value: f64| {
        let moved = value * 10f64.powi(digits);
        (moved.round() - moved).abs() < 1e-6
    };
    (0..4).find(|&digits| values.iter().all(|&value| whole(digits, value))).unwrap_or(4) as usize
}

/// There is room for six letters at the axis.
fn mark(value: f64, digits: usize) -> String {
    match value {
        ..1_000.0 => format!("{value:.digits$}"),
        ..1_000_000.0 => format::group(value.round() as u64),
        ..VAST => format::count(value.round() as u64),
        _ => format!("{value:.0e}"),
    }
}

/// About as wide as the text is drawn.
pub fn width_of(text: &str) -> f64 {
    text.chars().map(|letter| if letter.is_ascii() { LETTER } else { SQUARE }).sum()
}

/// Where a text of this width begins, on which base line, so that it names the level line at `y` of a drawing and covers neither a
/// dot nor the line through some of them. Over the right end where there is no such place.
pub fn room((width, drawing): (f64, f64), y: f64, dots: &[(f64, f64)], line: &[(f64, f64)]) -> (f64, f64) {
    let last = drawing - RIGHT - width;
    let (over, under) = (y - 5.0, y + 14.0);
    let starts = |base: f64| (0_u32..).map(|step| LEFT + 6.0 + f64::from(step) * 10.0).map(move |x| (x, base));
    let sides = [over, under].into_iter().filter(|base| *base >= 12.0 && *base <= HEIGHT - BOTTOM + 2.0);
    let mut places = sides.flat_map(|base| starts(base).take_while(move |(x, _)| *x <= last));
    let along = line.windows(2).flat_map(|ends| {
        let (from, to) = (ends[0], ends[1]);
        let at = move |share: f64| (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
        (0..=STEPS).map(move |step| at(f64::from(step) / f64::from(STEPS)))
    });
    let along: Vec<(f64, f64)> = along.collect();
    let free = |&(x, base): &(f64, f64)| {
        let hits = |clear: f64| {
            let (across, down) = (x - clear..x + width + clear, base - 9.0 - clear..base + 3.0 + clear);
            move |(px, py): &(f64, f64)| across.contains(px) && down.contains(py)
        };
        !dots.iter().any(hits(CLEAR)) && !along.iter().any(hits(CLEAR_LINE))
    };
    places.find(free).unwrap_or((last, over))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_apart_however_large() {
        assert_eq!([1e20, 1e21].map(|value| mark(value, 0)), ["1e20", "1e21"]);
        assert!(mark(5e11, 0).len() <= 6, "{}", mark(5e11, 0));
    }

    #[test]
    fn the_frontier_is_what_nothing_beats() {
        let points = [(10, 3.0), (5, 4.0), (7, 4.5), (5, 5.0), (12, 3.0), (20, 2.0)];
        assert_eq!(frontier(&points), [1, 0, 5]);
        assert!(frontier(&[]).is_empty());
    }

    fn words(marks: Vec<(f64, String)>) -> Vec<String> {
        marks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn the_axes_have_round_numbers() {
        let wide = Scale::of(&[(500, 5.7), (400, 11.3)], 5_247_488, 3.788, WIDTH);
        assert_eq!(words(wide.rows()), ["100", "1\u{202f}000", "10\u{202f}000", "100\u{202f}000"]);
        assert_eq!(words(wide.columns()), ["0 B", "1 MB", "2 MB", "3 MB", "4 MB", "5 MB"]);
        let narrow = Scale::of(&[(500, 3.79)], 5_247_488, 3.788, WIDTH);
        assert_eq!(words(narrow.rows()), ["44.0", "44.5"]);
        let between = Scale::of(&[(500, 5.2)], 5_247_488, 3.788, WIDTH);
        assert_eq!(words(between.rows()), ["50", "100", "200"]);
        for (y, _) in wide.rows().into_iter().chain(narrow.rows()) {
            assert!((TOP..=HEIGHT - BOTTOM).contains(&y), "{y}");
        }
    }

    #[test]
    fn a_narrow_drawing_has_all_of_it_with_fewer_numbers() {
        let scale = Scale::of(&[(5_000_000, 3.8)], 5_247_488, 3.788, 324.0);
        let columns = scale.columns();
        assert!((2..=4).contains(&columns.len()), "{columns:?}");
        assert!(columns.iter().all(|(x, _)| (LEFT..=324.0 - RIGHT).contains(x)), "{columns:?}");
        assert!(columns.windows(2).all(|pair| pair[1].0 - pair[0].0 > 50.0), "{columns:?}");
        assert!(scale.x(5_247_488.0) <= 324.0 - RIGHT);
    }

    #[test]
    fn a_name_stands_where_it_covers_nothing() {
        let (width, y) = (90.0, 200.0);
        assert_eq!(room((width, WIDTH), y, &[], &[]), (LEFT + 6.0, y - 5.0));
        let dots = [(70.0, 198.0), (150.0, 190.0), (400.0, 200.0)];
        let (x, base) = room((width, WIDTH), y, &dots, &dots);
        for (px, py) in dots {
            assert!(
                px < x || px > x + width || py < base - 9.0 || py > base + 3.0,
                "{px}, {py} lies under {x}, {base}"
            );
        }
        // A line from corner to corner is crossed by nothing either.
        let line = [(LEFT, y - 60.0), (WIDTH - RIGHT, y)];
        let (x, base) = room((width, WIDTH), y, &[], &line);
        let at = |px: f64| line[0].1 + (px - line[0].0) / (line[1].0 - line[0].0) * (line[1].1 - line[0].1);
        assert!(at(x) < base - 9.0 && at(x + width) < base - 9.0 || at(x + width) > base, "{x}, {base}");
    }
}
