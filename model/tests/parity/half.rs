//! Checkpoints in 16 bits, for transformers to read: with the logits that our own reading of the same file gives
//! (`tests/golden/check_export.py`).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use hearth_model::bundle::{ModelBundle, Precision};
use hearth_model::checkpoint::safetensors::{Encoded, write};
use hearth_model::device;

use super::golden::{alone, bundle, difference, expected};
use super::{MODELS, PALM, Result};

#[test]
#[ignore = "writes for the reference implementations; cargo xtask parity runs it"]
fn parity_export_half() -> Result {
    let out = PathBuf::from(std::env::var("HEARTH_PARITY_OUT")?);
    for name in MODELS.into_iter().filter(|name| *name != PALM) {
        let whole = bundle(name, &device::cpu())?;
        let expected = expected(name)?;
        for (suffix, precision) in [("f16", Precision::F16), ("bf16", Precision::BF16)] {
            let dir = out.join(format!("{name}-{suffix}"));
            whole.save(&dir, precision)?;
            let half = ModelBundle::load(&dir, &device::cpu(), &mut |_| ControlFlow::Continue(()))?;
            let logits = alone(&half.transformer, &expected);
            assert!(difference(&logits, &expected.logits) > 0.0, "{name} in {suffix} lost nothing");
            let shape = vec![logits.len() / expected.vocab, expected.vocab];
            let tensors = BTreeMap::from([("logits".to_owned(), Encoded::new(Precision::F32, shape, &logits))]);
            write(&dir.join("expected.safetensors"), &tensors)?;
        }
    }
    Ok(())
}
