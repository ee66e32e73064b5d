//! Whether two golden files say the same. References round differently from one processor to the next, so floats are compared, not
//! their bits; everything else must be equal to the byte.

use std::path::Path;

use serde_json::Value;

/// How far numbers may be apart, as a share of the largest number of their tensor or, in JSON, of the number itself: half of what the
/// tests allow. Ten steps of an adaptive optimizer on two processors were 3e-5 apart, single passes 3e-6.
const TOLERANCE: f64 = 5e-5;

/// Whether `made` could have been committed as `committed`, by the rules of the file's kind.
pub fn same(path: &Path, committed: &[u8], made: &[u8]) -> bool {
    if committed == made {
        return true;
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => same_tensors(committed, made).unwrap_or(false),
        Some("json") => {
            let [one, two] = [committed, made].map(|bytes| serde_json::from_slice::<Value>(bytes).ok());
            one.zip(two).is_some_and(|(one, two)| same_values(&one, &two))
        }
        _ => false,
    }
}

/// Header and data of a safetensors file: the header's length in eight bytes, JSON, numbers.
fn parts(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((serde_json::from_slice(header).ok()?, data))
}

fn same_tensors(committed: &[u8], made: &[u8]) -> Option<bool> {
    let ((header, one), (other, two)) = (parts(committed)?, parts(made)?);
    if header != other {
        return Some(false);
    }
    for (name, tensor) in header.as_object()? {
        if name == "__metadata__" {
            continue;
        }
        let bound = |i: usize| usize::try_from(tensor["data_offsets"][i].as_u64()?).ok();
        let range = bound(0)?..bound(1)?;
        let (one, two) = (one.get(range.clone())?, two.get(range)?);
        let same = if tensor["dtype"] == "F32" { same_floats(one, two) } else { one == two };
        if !same {
            return Some(false);
        }
    }
    Some(true)
}

fn same_floats(one: &[u8], two: &[u8]) -> bool {
    let floats = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
    };
    let (one, two) = (floats(one), floats(two));
    let most = TOLERANCE * one.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    one.len() == two.len() && one.iter().zip(&two).all(|(a, b)| a == b || (a - b).abs() <= most)
}

fn same_values(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len() && one.iter().all(|(key, a)| two.get(key).is_some_and(|b| same_values(a, b)))
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(a, b)| same_values(a, b))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= TOLERANCE * a.abs()
        }
        (one, two) => one == two,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(values: &[f32], dtype: &str) -> Vec<u8> {
        let header = format!(
            r#"{{"x":{{"dtype":"{dtype}","shape":[{0}],"data_offsets":[0,{1}]}}}}"#,
            values.len(),
            4 * values.len()
        );
        let data = values.iter().flat_map(|x| x.to_le_bytes());
        (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(data).collect()
    }

    #[test]
    fn only_rounding_may_differ() {
        let tensors = |one: &[u8], two: &[u8]| same(Path::new("a.safetensors"), one, two);
        let whole = file(&[1.0, -8.0, 1e-9], "F32");
        assert!(tensors(&whole, &file(&[1.00001, -8.0, 2e-9], "F32")));
        assert!(!tensors(&whole, &file(&[1.001, -8.0, 1e-9], "F32")));
        assert!(!tensors(&whole, &file(&[f32::NAN, -8.0, 1e-9], "F32")));
        assert!(!tensors(&whole, &file(&[1.0, -8.0], "F32")));
        assert!(!tensors(&file(&[1.0, -8.0], "I32"), &file(&[1.000_000_1, -8.0], "I32")));
        assert!(!tensors(&whole, &whole[..whole.len() - 1]));
        let json = |one: &str, two: &str| same(Path::new("a.json"), one.as_bytes(), two.as_bytes());
        assert!(json(r#"{"loss": [2.5, 3]}"#, r#"{"loss": [2.500001, 3]}"#));
        assert!(!json(r#"{"loss": [2.5, 3]}"#, r#"{"loss": [2.501, 3]}"#));
        assert!(!json(r#"{"ids": [25000000]}"#, r#"{"ids": [25000001]}"#));
        assert!(!same(Path::new("a.gguf"), b"a", b"b"));
    }
}
