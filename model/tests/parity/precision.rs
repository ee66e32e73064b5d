//! Emulated number formats are torch's (`tests/golden/make_precision.py`).

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};
use hearth_model::checkpoint::Weights;
use hearth_model::checkpoint::safetensors::parse;
use hearth_model::device;
use hearth_model::projection::{Projection, Site};
use hearth_model::rounding::{BF16, E4M3, E5M2, F16, Rounding};
use hearth_shared::spec::Precision;

use super::{Result, golden, tensor};

fn file(name: &str) -> Result<Vec<u8>> {
    Ok(std::fs::read(golden(&format!("precision/{name}.safetensors")))?)
}

/// What the file writes for a number that is none.
fn written(x: f32) -> f32 {
    if x.is_nan() {
        -1e9
    } else if x.is_infinite() {
        if x > 0.0 { 1e9 } else { -2e9 }
    } else {
        x
    }
}

#[test]
fn casts_are_torchs() -> Result {
    let bytes = file("casts")?;
    let file = parse("casts.safetensors", &bytes)?;
    let values = tensor(&file, "values")?.1;
    for (name, format) in [("bf16", BF16), ("f16", F16), ("e4m3", E4M3), ("e5m2", E5M2)] {
        let expected = tensor(&file, &format!("cast/{name}"))?.1;
        for (x, want) in values.iter().zip(&expected) {
            let got = written(format.round(*x));
            assert!(got == *want, "{name}: {x:e} becomes {got:e}, in torch {want:e}");
        }
        assert!(values.iter().zip(&expected).any(|(x, want)| x != want), "{name} rounds something");
    }
    Ok(())
}

/// Result and gradients of `x Wᵀ + b`, which the file holds under `name`. Sums in another order may round to the number beside, `unit`
/// relative.
fn a_product_is(file: &Weights<'_>, name: &str, rounding: Option<Rounding>, unit: f32) -> Result {
    let device = device::cpu().autodiff();
    let get = |key: &str| tensor(file, &format!("{name}/{key}"));
    let data = |key: &str| get(key).map(|(shape, values)| TensorData::new(values, shape));
    let leaf =
        |key: &str| Ok::<_, Box<dyn std::error::Error>>(Tensor::<2>::from_data(data(key)?, &device).require_grad());
    let (x, w) = (leaf("x")?, leaf("w")?);
    let b = Tensor::<1>::from_data(data("b")?, &device).require_grad();
    let projection = Projection {
        weight: Param::from_tensor(w.clone()),
        bias: Some(Param::from_tensor(b.clone())),
        packed: None,
        lora: None,
        ia3: None,
        bottleneck: None,
        input_bits: None,
        input_sums: None,
    };
    let site = Site { rounding, ..Site::default() };
    let y = projection.forward(x.clone().unsqueeze_dim::<3>(0), site).squeeze_dim::<2>(0);
    let dy = Tensor::<2>::from_data(data("dy")?, &device);
    let tape = (y.clone() * dy).sum().backward();
    let close = |key: &str, got: TensorData| -> Result {
        let got: Vec<f32> = got.convert::<f32>().try_into_vec().map_err(|error| format!("{error:?}"))?;
        let want = get(key)?.1;
        assert_eq!(got.len(), want.len());
        let mut equal = 0;
        for (a, b) in got.iter().zip(&want) {
            assert!((a - b).abs() <= unit * b.abs().max(0.25), "{name} {key}: {a} for {b}");
            equal += usize::from(a == b);
        }
        assert!(equal * 10 >= want.len() * 9, "{name} {key}: {equal} of {} equal", want.len());
        Ok(())
    };
    close("y", y.into_data())?;
    close("dx", x.grad(&tape).ok_or("no gradient")?.into_data())?;
    close("dw", w.grad(&tape).ok_or("no gradient")?.into_data())?;
    close("db", b.grad(&tape).ok_or("no gradient")?.into_data())
}

#[test]
fn a_product_is_torchs_autocast() -> Result {
    let bytes = file("casts")?;
    let file = parse("casts.safetensors", &bytes)?;
    a_product_is(&file, "bf16", Rounding::of(Precision::Bf16), 1.0 / 128.0)?;
    a_product_is(&file, "f16", Rounding::of(Precision::F16), 1.0 / 1024.0)
}

/// Inputs scaled to E4M3, the gradient of the result to E5M2, what leaves the product in bf16.
#[test]
fn a_product_in_fp8_is_that_of_torchs_casts() -> Result {
    let bytes = file("products")?;
    a_product_is(&parse("products.safetensors", &bytes)?, "fp8", Rounding::of(Precision::Fp8), 1.0 / 128.0)
}
