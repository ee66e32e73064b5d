//! The work of a side as a picture: a row for every step, a column for every position. What went through the layers is filled,
//! what was read from the cache is outlined. The drawing is a few paths of cells one unit wide. Pure.

use std::fmt::Write;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Positions at the end of the text that went through the layers.
    pub computed: u64,
    /// Positions of the text.
    pub length: u64,
}

impl Row {
    /// Positions that were read from the cache.
    fn read(self) -> u64 {
        self.length.saturating_sub(self.computed)
    }
}

/// One rectangle a row, over what was computed.
pub fn filled(rows: &[Row]) -> String {
    let mut path = String::new();
    for (y, row) in rows.iter().enumerate() {
        // Writing into a string cannot fail.
        let _ = write!(path, "M{} {y}h{}v1h-{}z", row.read(), row.computed, row.computed);
    }
    path
}

/// The same over what was read.
pub fn ground(rows: &[Row]) -> String {
    let mut path = String::new();
    for (y, row) in rows.iter().enumerate().filter(|(_, row)| row.read() > 0) {
        let _ = write!(path, "M0 {y}h{}v1h-{}z", row.read(), row.read());
    }
    path
}

/// The lines between the cells that were read, and around them. No row reads less than the one before.
pub fn outlined(rows: &[Row]) -> String {
    let mut path = String::new();
    for (y, row) in rows.iter().enumerate().filter(|(_, row)| row.read() > 0) {
        let _ = write!(path, "M0 {y}h{}M0 {}h{}", row.read(), y + 1, row.read());
    }
    let most = rows.last().map_or(0, |row| row.read());
    let end = rows.len();
    for x in 0..=most {
        let first = rows.iter().position(|row| row.read() >= x.max(1));
        if let Some(first) = first {
            let _ = write!(path, "M{x} {first}V{end}");
        }
    }
    path
}

/// Lines between all cells of a field, in the colour of the ground: they part what is filled into cells.
pub fn lines(columns: u64, rows: u64) -> String {
    let mut path = String::new();
    for x in 1..columns {
        let _ = write!(path, "M{x} 0V{rows}");
    }
    for y in 1..rows {
        let _ = write!(path, "M0 {y}H{columns}");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: [Row; 3] =
        [Row { computed: 2, length: 2 }, Row { computed: 1, length: 3 }, Row { computed: 1, length: 4 }];

    #[test]
    fn computed_cells_are_filled_and_read_ones_outlined() {
        assert_eq!(filled(&KEPT), "M0 0h2v1h-2zM2 1h1v1h-1zM3 2h1v1h-1z");
        assert_eq!(ground(&KEPT), "M0 1h2v1h-2zM0 2h3v1h-3z");
        assert_eq!(outlined(&KEPT), "M0 1h2M0 2h2M0 2h3M0 3h3M0 1V3M1 1V3M2 1V3M3 2V3");
        assert_eq!(lines(3, 2), "M1 0V2M2 0V2M0 1H3");
    }

    #[test]
    fn without_a_cache_nothing_is_read() {
        let again = KEPT.map(|row| Row { computed: row.length, ..row });
        assert_eq!((ground(&again), outlined(&again)), (String::new(), String::new()));
        assert_eq!(filled(&again), "M0 0h2v1h-2zM0 1h3v1h-3zM0 2h4v1h-4z");
    }
}
