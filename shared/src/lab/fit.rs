//! Whether a model fits, before a byte of it is fetched. Pure arithmetic on sizes in bytes.

use super::LabError;

/// A tab's wasm memory has 32-bit addresses.
const ADDRESSABLE: u64 = 4 << 30;
/// The engine itself, the tokenizer's tables and what one forward pass holds.
const WORKING: u64 = 96 << 20;

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Bytes the wasm memory has already.
    pub used: u64,
    /// Memory of the machine, where the browser tells.
    pub machine: Option<u64>,
}

/// What a model takes while it loads: its files, its weights in f32, and a quarter of them once more for the largest weight
/// while it is converted (the embedding of a small model is about that large).
#[must_use]
pub fn needed(files: u64, parameters: u64) -> u64 {
    let weights = parameters * 4;
    files + weights + weights / 4 + WORKING
}

/// # Errors
/// [`LabError::Memory`] with both figures.
pub fn memory(needed: u64, room: Room) -> Result<(), LabError> {
    let addressable = ADDRESSABLE.saturating_sub(room.used);
    let available = room.machine.map_or(addressable, |machine| addressable.min(machine));
    if needed > available {
        return Err(LabError::Memory { needed, available });
    }
    Ok(())
}

/// The tokens one trace takes: 128 for small models, 32 where a pass takes about a second on one CPU thread.
#[must_use]
pub fn max_tokens(parameters: u64, max_positions: u32) -> u32 {
    let limit = if parameters > 40_000_000 { 32 } else { 128 };
    limit.min(max_positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smollm2_fits_a_large_tab_and_not_a_small_phone() {
        let needed = needed(98_000_000, 134_515_008);
        let roomy = Room { used: 40 << 20, machine: Some(8 << 30) };
        assert_eq!(memory(needed, roomy), Ok(()));
        let small = Room { used: 40 << 20, machine: Some(512 << 20) };
        assert_eq!(memory(needed, small), Err(LabError::Memory { needed, available: 512 << 20 }));
    }

    #[test]
    fn a_seven_billion_model_never_fits() {
        let room = Room { used: 0, machine: None };
        assert!(memory(needed(14_000_000_000, 7_000_000_000), room).is_err());
    }
}
