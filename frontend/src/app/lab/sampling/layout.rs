//! Where things stand in this lab's drawings: stacked columns with ribbons between them, and a tree from left to right. Pure geometry.

use std::fmt::Write;

use hearth_shared::lab::sampling::{Node, Tree};

/// The columns' drawing, in units that are stretched to the room there is.
pub const WIDTH: f64 = 600.0;
pub const HEIGHT: f64 = 260.0;
/// Half of a column.
const HALF: f64 = 13.0;
/// Thinner than this is not drawn.
const THIN: f64 = 0.15;

/// A token's part of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    /// Its place in the list of tokens.
    pub row: usize,
    pub x: f64,
    pub y: f64,
    pub height: f64,
}

impl Segment {
    pub const WIDTH: f64 = 2.0 * HALF;
}

/// What becomes of a part in the next column.
#[derive(Clone, Debug, PartialEq)]
pub struct Ribbon {
    pub row: usize,
    pub path: String,
    /// It ends before the next column.
    pub falls: bool,
}

/// Columns of shares that sum to 1, one for every place of `rows`' lists, stacked in the order of the rows.
pub fn stacked(rows: &[Vec<f64>]) -> (Vec<Segment>, Vec<Ribbon>) {
    let columns = rows.iter().map(Vec::len).min().unwrap_or_default();
    let (mut segments, mut ribbons) = (Vec::new(), Vec::new());
    let mut before: Vec<Segment> = Vec::new();
    for column in 0..columns {
        let x = (column as f64 + 0.5) / columns as f64 * WIDTH - HALF;
        let mut y = 0.0;
        let mut now = Vec::with_capacity(rows.len());
        for (row, shares) in rows.iter().enumerate() {
            let height = shares[column].clamp(0.0, 1.0) * HEIGHT;
            now.push(Segment { row, x, y, height });
            y += height;
        }
        ribbons.extend(before.iter().zip(&now).filter(|(from, _)| from.height > THIN).map(between));
        segments.extend(now.iter().filter(|segment| segment.height > THIN));
        before = now;
    }
    (segments, ribbons)
}

fn between((from, to): (&Segment, &Segment)) -> Ribbon {
    let (x0, x1) = (from.x + Segment::WIDTH, to.x);
    let (top, bottom) = (from.y, from.y + from.height);
    let middle = (x0 + x1) / 2.0;
    let falls = to.height <= 0.0;
    let path = if falls {
        // To a point on the way.
        let (end, y) = (x0 + (x1 - x0) * 0.6, (top + bottom) / 2.0);
        let bend = (x0 + end) / 2.0;
        format!(
            "M{x0:.1} {top:.2}C{bend:.1} {top:.2} {bend:.1} {y:.2} {end:.1} {y:.2}\
             C{bend:.1} {y:.2} {bend:.1} {bottom:.2} {x0:.1} {bottom:.2}z"
        )
    } else {
        let (there, under) = (to.y, to.y + to.height);
        format!(
            "M{x0:.1} {top:.2}C{middle:.1} {top:.2} {middle:.1} {there:.2} {x1:.1} {there:.2}V{under:.2}\
             C{middle:.1} {under:.2} {middle:.1} {bottom:.2} {x0:.1} {bottom:.2}z"
        )
    };
    Ribbon { row: from.row, path, falls }
}

/// From one level of a tree to the next, in pixels.
const LEVEL: f64 = 158.0;
/// From one leaf to the next.
const LEAF: f64 = 26.0;
const MARGIN: f64 = 16.0;
/// Of a letter of the tree's names; a wide one takes two.
const LETTER: f64 = 7.3;
/// Between a node's dot and its name, and behind its name with the share.
const GAP: f64 = 9.0;
const SHARE: f64 = 44.0;
/// Letters of a name.
const LONGEST: usize = 9;
/// Width of an edge that carries everything.
const WHOLE: f64 = 24.0;

/// A tree's drawing, in pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// Where the text stands.
    pub root: (f64, f64),
    /// Of each node's dot.
    pub dots: Vec<(f64, f64)>,
    /// The edge that leads to each node: its path and its width.
    pub edges: Vec<(String, f64)>,
    pub size: (f64, f64),
}

impl Drawing {
    /// `names` are the nodes' as they are written.
    pub fn of(tree: &Tree, names: &[String]) -> Self {
        let mut followers: Vec<Vec<usize>> = vec![Vec::new(); tree.nodes.len() + 1];
        for (place, node) in tree.nodes.iter().enumerate() {
            // The text itself is 0.
            followers[node.parent.map_or(0, |parent| parent as usize + 1)].push(place + 1);
        }
        let mut rows = vec![0.0; followers.len()];
        let mut leaves = 0;
        stand(&followers, 0, &mut leaves, &mut rows);
        let y = |row: f64| MARGIN + row * LEAF;
        let x = |depth: u32| MARGIN + f64::from(depth) * LEVEL - if depth > 0 { LEVEL * 0.55 } else { 0.0 };
        let root = (x(0), y(rows[0]));
        let nodes = tree.nodes.iter().zip(&rows[1..]);
        let dots: Vec<(f64, f64)> = nodes.map(|(node, row)| (x(node.depth), y(*row))).collect();
        let edge = |(node, &(x1, y1)): (&Node, &(f64, f64))| {
            let (x0, y0) = match node.parent {
                Some(parent) => {
                    let (x, y) = dots[parent as usize];
                    let name = names.get(parent as usize).map_or(0, |name| letters(name));
                    (x + GAP + name as f64 * LETTER + SHARE, y)
                }
                None => (root.0 + GAP, root.1),
            };
            let (x0, middle) = (x0.min(x1 - 12.0), (x0.min(x1 - 12.0) + x1) / 2.0);
            let mut path = String::new();
            // Writing into a string cannot fail.
            let _ = write!(path, "M{x0:.1} {y0:.1}C{middle:.1} {y0:.1} {middle:.1} {y1:.1} {x1:.1} {y1:.1}");
            (path, (node.in_all * WHOLE).max(1.0))
        };
        let edges = tree.nodes.iter().zip(&dots).map(edge).collect();
        let deepest = tree.nodes.iter().map(|node| node.depth).max().unwrap_or_default();
        let width = x(deepest) + GAP + LONGEST as f64 * LETTER + SHARE + MARGIN;
        let size = (width, y(leaves.max(1) as f64 - 1.0) + MARGIN);
        Self { root, dots, edges, size }
    }
}

/// Leaves stand one below the other, what has followers in the middle of them.
fn stand(followers: &[Vec<usize>], place: usize, leaves: &mut usize, rows: &mut [f64]) {
    for follower in &followers[place] {
        stand(followers, *follower, leaves, rows);
    }
    rows[place] = match (followers[place].first(), followers[place].last()) {
        (Some(first), Some(last)) => (rows[*first] + rows[*last]) / 2.0,
        _ => {
            *leaves += 1;
            *leaves as f64 - 1.0
        }
    };
}

/// Letters that a name takes, a wide character counting twice.
fn letters(name: &str) -> usize {
    name.chars().map(width).sum()
}

fn width(letter: char) -> usize {
    // From Hangul on: the scripts of East Asia, and pictures.
    if (letter as u32) < 0x1100 || (0x2000..0x2e80).contains(&(letter as u32)) { 1 } else { 2 }
}

/// A name that fits into the tree.
pub fn short(name: &str) -> String {
    if letters(name) <= LONGEST {
        return name.to_owned();
    }
    let mut taken = 0;
    let kept: String = name
        .chars()
        .take_while(|letter| {
            taken += width(*letter);
            taken < LONGEST
        })
        .collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_shared::lab::sampling::TreeSpec;

    #[test]
    fn columns_are_full_and_what_falls_ends_on_the_way() {
        let rows = [vec![0.5, 0.625, 1.0], vec![0.3, 0.375, 0.0], vec![0.2, 0.0, 0.0]];
        let (segments, ribbons) = stacked(&rows);
        for left in [100.0, 300.0, 500.0].map(|middle| middle - HALF) {
            let height: f64 = segments.iter().filter(|s| (s.x - left).abs() < 1e-9).map(|s| s.height).sum();
            assert!((height - HEIGHT).abs() < 1e-9, "the column at {left} is {height} high");
        }
        assert_eq!(segments.len(), 6);
        let falls: Vec<(usize, bool)> = ribbons.iter().map(|ribbon| (ribbon.row, ribbon.falls)).collect();
        assert_eq!(falls, [(0, false), (1, false), (2, true), (0, false), (1, true)]);
        let inside =
            segments.iter().all(|s| s.x >= 0.0 && s.x + Segment::WIDTH <= WIDTH && s.y + s.height <= HEIGHT + 1e-9);
        assert!(inside, "{segments:?}");
        assert_eq!(stacked(&[]), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_node_stands_in_the_middle_of_what_follows_it() {
        let node = |parent, depth, in_all| Node { parent, id: 1, depth, share: 0.5, in_all, ends: false };
        let nodes = vec![
            node(None, 1, 0.5),
            node(None, 1, 0.25),
            node(Some(0), 2, 0.25),
            node(Some(0), 2, 0.125),
            node(Some(2), 3, 0.125),
        ];
        let spec = TreeSpec { branches: 2, depth: 3, floor: 0.1 };
        let tree = Tree { spec, nodes, forwarded: 0, ms: 0.0 };
        let names = vec!["·the".to_owned(); 5];
        let drawing = Drawing::of(&tree, &names);
        let y: Vec<f64> = drawing.dots.iter().map(|(_, y)| (y - MARGIN) / LEAF).collect();
        // Leaves: the last node, then its uncle, then the second of the first level.
        assert_eq!(y, [0.5, 2.0, 0.0, 1.0, 0.0]);
        assert_eq!((drawing.root.1 - MARGIN) / LEAF, 1.25);
        assert_eq!(drawing.edges[0].1, 12.0);
        assert!(drawing.dots.iter().all(|(x, y)| *x < drawing.size.0 && *y < drawing.size.1));
        let none = Tree { nodes: Vec::new(), ..tree };
        assert!(Drawing::of(&none, &[]).dots.is_empty());
    }

    #[test]
    fn names_are_cut_to_the_room_they_have() {
        assert_eq!(short("·the"), "·the");
        assert_eq!(short("·Representatives"), "·Represe…");
        assert_eq!(short("床前明月光疑"), "床前明月…");
        assert_eq!((letters("⟨E6 9D⟩"), letters("床a")), (7, 3));
    }
}
