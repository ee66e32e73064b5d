//! Readers against the reference writer's files, and against files that lie.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::gguf::{Gguf, Value};
use super::source::Memory;
use super::{CheckpointError, DType, Fault, dequant, safetensors};

const BLOCKS: &[u8] = include_bytes!("../../../tests/golden/gguf_blocks.gguf");

#[test]
fn every_block_type_equals_the_reference_bit_for_bit() {
    let gguf = Gguf::parse("gguf_blocks.gguf", BLOCKS).unwrap();
    let find = |name: String| gguf.tensors.iter().find(|t| t.name == name).unwrap();
    let mut types = 0;
    for stored in gguf.tensors.iter().filter(|t| t.name.ends_with(".stored")) {
        let expected = find(stored.name.replace("stored", "expected"));
        assert_eq!(stored.name, format!("{}.stored", stored.dtype.name()));
        let (ours, theirs) =
            (dequant::to_f32(stored.dtype, stored.bytes), dequant::to_f32(expected.dtype, expected.bytes));
        assert_eq!(stored.shape, expected.shape);
        assert_eq!(ours.len(), theirs.len());
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!(a.to_bits() == b.to_bits(), "{}: number {i} is {a}, the reference has {b}", stored.name);
        }
        types += 1;
    }
    assert_eq!(types, 11);
}

#[test]
fn metadata_of_every_type_is_read() {
    let gguf = Gguf::parse("gguf_blocks.gguf", BLOCKS).unwrap();
    let get = |key: &str| gguf.metadata[key].clone();
    assert_eq!(get("test.u8"), Value::Unsigned(200));
    assert_eq!(get("test.i8"), Value::Signed(-100));
    assert_eq!(get("test.u16"), Value::Unsigned(60000));
    assert_eq!(get("test.i16"), Value::Signed(-30000));
    assert_eq!(get("test.u32"), Value::Unsigned(4_000_000_000));
    assert_eq!(get("test.i32"), Value::Signed(-2_000_000_000));
    assert_eq!(get("test.u64"), Value::Unsigned(1 << 60));
    assert_eq!(get("test.i64"), Value::Signed(-(1 << 60)));
    assert_eq!(get("test.f32"), Value::Float(0.5));
    assert_eq!(get("test.f64"), Value::Float(0.1));
    assert_eq!(get("test.bool"), Value::Bool(true));
    assert_eq!(get("test.string"), Value::String("火 hearth"));
    assert_eq!(get("test.strings"), Value::Strings(vec!["a", "", "灶"]));
    let Value::Numbers(numbers) = get("test.numbers") else { panic!("not numbers") };
    assert_eq!(numbers.iter().collect::<Vec<_>>(), [Value::Signed(1), Value::Signed(-2), Value::Signed(3)]);
}

/// A small GGUF, written by hand so that each field can be made to lie.
struct Small {
    version: u32,
    n_tensors: u64,
    n_entries: u64,
    entries: Vec<u8>,
    tensors: Vec<u8>,
    data: Vec<u8>,
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat()
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

fn description(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
    out.extend(kind.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

impl Default for Small {
    fn default() -> Self {
        Self {
            version: 3,
            n_tensors: 2,
            n_entries: 1,
            entries: entry("general.architecture", 8, &text("llama")),
            tensors: [description("a", &[4, 3], 0, 0), description("b", &[32], 8, 64)].concat(),
            data: vec![0; 98],
        }
    }
}

impl Small {
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.to_le_bytes());
        out.extend(self.n_entries.to_le_bytes());
        out.extend(&self.entries);
        out.extend(&self.tensors);
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    fn error(&self) -> CheckpointError {
        Gguf::parse("small.gguf", &self.bytes()).unwrap_err()
    }
}

/// The tensor and fault of an error about a tensor.
fn tensor_fault(error: CheckpointError) -> (String, Fault) {
    match error {
        CheckpointError::Tensor { tensor, fault, .. } => (tensor, fault),
        other => panic!("not about a tensor: {other}"),
    }
}

#[test]
fn the_small_file_is_sound() {
    let bytes = Small::default().bytes();
    let gguf = Gguf::parse("small.gguf", &bytes).unwrap();
    assert_eq!(gguf.tensors[0].shape, [3, 4]);
    assert_eq!((gguf.tensors[1].dtype, gguf.tensors[1].bytes.len()), (DType::Q8_0, 34));
}

#[test]
fn a_lie_about_a_tensor_names_it() {
    let with = |tensors: Vec<u8>| tensor_fault(Small { tensors, ..Small::default() }.error());
    let b = || description("b", &[32], 8, 64);
    let (name, fault) = with([description("a", &[4, 3], 99, 0), b()].concat());
    assert_eq!((name.as_str(), fault), ("a", Fault::Type { name: "number 99".into() }));
    let (_, fault) = with([description("a", &[4, 3], 10, 0), b()].concat());
    assert_eq!(fault, Fault::Type { name: "Q2_K".into() });
    let (name, fault) = with([description("b", &[4, 3], 0, 0), b()].concat());
    assert_eq!((name.as_str(), fault), ("b", Fault::Duplicate));
    let (_, fault) = with([description("a", &[u64::MAX, 3], 0, 0), b()].concat());
    assert!(matches!(fault, Fault::Shape { .. }), "{fault}");
    let (_, fault) = with([description("a", &[0, 3], 0, 0), b()].concat());
    assert!(matches!(fault, Fault::Shape { .. }), "{fault}");
    let (_, fault) = with([description("a", &[31], 8, 0), b()].concat());
    assert!(matches!(fault, Fault::Shape { .. }), "{fault}");
    let (_, fault) = with([description("a", &[1 << 40], 0, 0), b()].concat());
    assert!(matches!(fault, Fault::Truncated { needed, .. } if needed == 4 << 40), "{fault}");
    // Overlapping, out of range, backwards: each is not where the one before it ends.
    for offset in [0, 32, 96, u64::MAX] {
        let (name, fault) = with([description("a", &[4, 3], 0, 0), description("b", &[32], 8, offset)].concat());
        assert_eq!((name.as_str(), fault), ("b", Fault::Misplaced { found: offset, expected: 64 }));
    }
}

#[test]
fn a_lie_in_the_header_names_its_byte() {
    let absurd = Small { n_tensors: u64::MAX, ..Small::default() }.error();
    assert!(matches!(absurd, CheckpointError::Header { offset: 8, fault: Fault::Absurd { .. }, .. }), "{absurd}");
    let absurd = Small { n_entries: 1 << 60, ..Small::default() }.error();
    assert!(matches!(absurd, CheckpointError::Header { offset: 16, fault: Fault::Absurd { .. }, .. }), "{absurd}");
    let big_endian = Small { version: 3u32.swap_bytes(), ..Small::default() }.error();
    assert!(big_endian.to_string().contains("big-endian"), "{big_endian}");
    let future = Small { version: 4, ..Small::default() }.error();
    assert!(future.to_string().contains("version 4"), "{future}");
    let with = |entries: Vec<u8>| Small { entries, ..Small::default() }.error().to_string();
    assert!(with(entry("k", 13, &[0; 64])).contains("type"));
    assert!(
        with(entry("k", 8, &[text(""), vec![]].concat().iter().map(|_| 255).collect::<Vec<_>>())).contains("bytes")
    );
    let not_utf8 = [1u64.to_le_bytes().to_vec(), vec![0xff]].concat();
    assert!(with(entry("k", 8, &not_utf8)).contains("UTF-8"));
    let long = [4u32.to_le_bytes().to_vec(), (1u64 << 62).to_le_bytes().to_vec()].concat();
    assert!(with(entry("k", 9, &long)).contains("length of an array"));
    let nested = |depth| [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat().repeat(depth);
    assert!(with(entry("k", 9, &nested(100))).contains("depth"));
    let twice = Small { n_entries: 2, entries: entry("k", 7, &[1]).repeat(2), ..Small::default() };
    assert!(twice.error().to_string().contains("appears twice"));
    for alignment in [0u32, 3, 1 << 30] {
        assert!(with(entry("general.alignment", 4, &alignment.to_le_bytes())).contains("power of two"));
    }
}

#[test]
fn a_tokenizer_that_is_not_built_is_refused_by_name() {
    let refusal = |entries: &[(&str, &str)]| {
        let bytes = Small {
            n_entries: entries.len() as u64,
            entries: entries.iter().flat_map(|(key, value)| entry(key, 8, &text(value))).collect(),
            ..Small::default()
        }
        .bytes();
        let gguf = Gguf::parse("f", &bytes).unwrap();
        crate::tokenizer::gguf::tokenizer(&gguf).unwrap_err().to_string()
    };
    assert!(refusal(&[("tokenizer.ggml.model", "llama")]).contains("the tokenizer `llama`"));
    let pre = refusal(&[("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "tekken")]);
    assert!(pre.contains("`tekken`"), "{pre}");
    let bare = refusal(&[("tokenizer.ggml.model", "gpt2")]);
    assert!(bare.contains("tokenizer.ggml.tokens"), "{bare}");
    assert!(refusal(&[]).contains("tokenizer.ggml.model"));
}

#[test]
fn trailing_bytes_are_refused_and_padding_is_not() {
    let data = |n| Gguf::parse("f", &Small { data: vec![0; n], ..Small::default() }.bytes()).map(|_| ());
    assert!(data(98).is_ok());
    assert!(data(128).is_ok());
    assert!(matches!(data(129), Err(CheckpointError::Header { fault: Fault::Oversized { extra: 1 }, .. })));
}

#[test]
fn every_prefix_of_a_gguf_is_an_error() {
    let bytes = Small::default().bytes();
    for end in 0..bytes.len() {
        assert!(Gguf::parse("f", &bytes[..end]).is_err(), "prefix of {end} bytes");
    }
}

#[test]
fn the_beginning_of_a_gguf_has_all_metadata() {
    let small = Small { data: vec![0; 98], ..Small::default() };
    let bytes = small.bytes();
    let whole = Gguf::parse("f", &bytes).unwrap();
    let begun = Gguf::beginning("f", &bytes[..bytes.len() - 98]).unwrap();
    assert_eq!(whole.metadata.keys().collect::<Vec<_>>(), begun.metadata.keys().collect::<Vec<_>>());
    assert!(!whole.tensors.is_empty() && begun.tensors.is_empty());
    assert!(Gguf::beginning("f", &bytes[..30]).is_err());
}

fn small_safetensors() -> Vec<u8> {
    let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}}"#;
    [&(header.len() as u64).to_le_bytes()[..], header, &[0; 22]].concat()
}

fn safetensors_of(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn every_prefix_of_a_safetensors_is_an_error() {
    let bytes = small_safetensors();
    assert_eq!(safetensors::parse("f", &bytes).unwrap().tensors.len(), 2);
    for end in 0..bytes.len() {
        assert!(safetensors::parse("f", &bytes[..end]).is_err(), "prefix of {end} bytes");
    }
    let longer = [bytes, vec![0]].concat();
    assert!(matches!(
        safetensors::parse("f", &longer),
        Err(CheckpointError::Header { fault: Fault::Oversized { extra: 1 }, .. })
    ));
}

#[test]
fn a_lie_in_a_safetensors_names_the_tensor() {
    let fault = |header: &str, data| {
        let bytes = safetensors_of(header, data);
        tensor_fault(safetensors::parse("f", &bytes).unwrap_err())
    };
    let (name, what) = fault(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}}"#, 9);
    assert_eq!((name.as_str(), what), ("w", Fault::Length { found: 9, expected: 8 }));
    let (_, what) = fault(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4);
    assert_eq!(what, Fault::Truncated { needed: 8, available: 4 });
    let (_, what) = fault(r#"{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#, 2);
    assert_eq!(what, Fault::Type { name: "F8_E4M3".into() });
    let (_, what) = fault(r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, 8);
    assert!(matches!(what, Fault::Shape { .. }), "{what}");
    let (_, what) = fault(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8);
    assert!(matches!(what, Fault::Misplaced { .. }), "{what}");
    let one = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let (name, what) = fault(&format!(r#"{{"w":{one},"w":{one}}}"#), 4);
    assert_eq!((name.as_str(), what), ("w", Fault::Duplicate));
    let (name, what) = fault(&format!(r#"{{"v":{one},"w":{one}}}"#), 4);
    assert_eq!((name.as_str(), what), ("w", Fault::Misplaced { found: 0, expected: 4 }));
    let huge = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551615,18446744073709551615]}}"#;
    assert!(matches!(fault(huge, 4).1, Fault::Misplaced { .. }));
}

#[test]
fn shards_must_hold_what_the_index_says() {
    let a = safetensors_of(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4);
    let b = safetensors_of(r#"{"b":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}"#, 2);
    let index = |map: &str| format!(r#"{{"metadata":{{}},"weight_map":{map}}}"#).into_bytes();
    let load = |map: &str| {
        let source = Memory::new([("s1", a.clone()), ("s2", b.clone()), (safetensors::INDEX, index(map))]);
        safetensors::from_source(&source).map(|w| w.tensors.into_keys().collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    assert_eq!(load(r#"{"a":"s1","b":"s2"}"#).unwrap(), ["a", "b"]);
    assert!(load(r#"{"a":"s1","b":"s1"}"#).unwrap_err().contains("`b`"));
    assert!(load(r#"{"a":"s1","b":"s3"}"#).unwrap_err().contains("s3: not found"));
    assert!(load(r#"{"a":"s1","b":"../s2"}"#).unwrap_err().contains("not found"));
}

#[test]
fn a_pickle_is_refused_by_name() {
    let source = Memory::new([("config.json", b"{}".to_vec()), ("pytorch_model.bin", vec![0x80])]);
    let error = safetensors::from_source(&source).unwrap_err().to_string();
    assert!(error.contains("pytorch_model.bin") && error.contains("could run code"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_mutated_gguf_never_panics(edits in prop::collection::vec((0usize..400, any::<u8>()), 1..6), end in 0usize..400) {
        let mut bytes = Small::default().bytes();
        for (at, value) in edits {
            let n = bytes.len();
            bytes[at % n] = value;
        }
        if end < bytes.len() {
            bytes.truncate(end);
        }
        if let Ok(gguf) = Gguf::parse("f", &bytes) {
            for t in &gguf.tensors {
                prop_assert_eq!(dequant::to_f32(t.dtype, t.bytes).len(), t.shape.iter().product::<usize>());
            }
        }
    }

    #[test]
    fn a_mutated_safetensors_never_panics(edits in prop::collection::vec((0usize..400, any::<u8>()), 1..6), end in 0usize..400) {
        let mut bytes = small_safetensors();
        for (at, value) in edits {
            let n = bytes.len();
            bytes[at % n] = value;
        }
        if end < bytes.len() {
            bytes.truncate(end);
        }
        if let Ok(weights) = safetensors::parse("f", &bytes) {
            for w in weights.tensors.values() {
                prop_assert_eq!(w.to_f32().len(), w.shape.iter().product::<usize>());
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Gguf::parse("f", &bytes);
        let _ = Gguf::parse("f", &[b"GGUF\x03\0\0\0", &bytes[..]].concat());
        let _ = safetensors::parse("f", &bytes);
    }
}
