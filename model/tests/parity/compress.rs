//! Fewer bits as others make them fewer (`tests/golden/make_nf4.py`).

use hearth_model::checkpoint::safetensors::parse;
use hearth_model::compress::nf4::{BLOCK, LEVELS, Nf4};

use super::Result;
use super::golden::{difference, golden, tensor};

#[test]
fn nf4_is_that_of_bitsandbytes() -> Result {
    let bytes = std::fs::read(golden("nf4.safetensors"))?;
    let file = parse("nf4.safetensors", &bytes)?;
    assert_eq!(tensor(&file, "levels")?.1, LEVELS);
    for name in ["whole", "partial"] {
        let (shape, values) = tensor(&file, &format!("{name}/values"))?;
        let again = Nf4::new(&values, [shape[0], shape[1]]).unpack();
        let expected = tensor(&file, &format!("{name}/again"))?.1;
        // bitsandbytes looks an 8-bit magnitude up in a coarse table first: beside a middle it may take the other neighbour.
        let blocks = again.chunks(BLOCK).zip(expected.chunks(BLOCK));
        let other = blocks.filter(|(a, b)| difference(a, b) > 1e-5).count();
        let d = difference(&again, &expected);
        assert!(other <= 2 && d < 0.03, "{name}: {other} blocks differ, by up to {d}");
        assert!(difference(&values, &expected) > 0.1, "{name}: nothing was rounded");
    }
    Ok(())
}
