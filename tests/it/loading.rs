//! Real files through the real reader: SmolLM2-135M as set-up fetched it, its tokenizer against llama.cpp's, its likelihood
//! of a known text, and what a save of it reads back as.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::Result;
use hearth_model::bundle::{LoadError, ModelBundle, Precision, Progress};
use hearth_model::checkpoint::gguf::Gguf;
use hearth_model::checkpoint::source::{Mapped, Memory, Source};
use hearth_model::device::cpu;
use hearth_model::generate::score;
use hearth_model::tokenizer::{Special, Tokenizer, Utf8Stream, gguf};
use hearth_shared::text::chat::{Message, Role};
use hearth_tests::places;
use proptest::prelude::*;
use serde::Deserialize;

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| {
        let file = std::fs::read(places::smollm2().unwrap()).unwrap();
        gguf::tokenizer(&Gguf::parse("smollm2", &file).unwrap()).unwrap()
    })
}

#[derive(Deserialize)]
struct Line {
    text: String,
    parsed: Vec<u32>,
    plain: Vec<u32>,
}

#[test]
fn three_hundred_lines_become_llama_cpps_ids() -> Result<()> {
    let lines: Vec<Line> = serde_json::from_slice(&std::fs::read(places::root().join("tests/golden/tokenizer.json"))?)?;
    assert_eq!(lines.len(), 300);
    // Saved and read again it must be the same tokenizer.
    let reread = Tokenizer::from_hf(tokenizer().to_json().as_bytes(), None)?;
    for line in lines {
        for tokenizer in [tokenizer(), &reread] {
            assert_eq!(tokenizer.encode(&line.text, Special::Parse), line.parsed, "{:?}", line.text);
            assert_eq!(tokenizer.encode(&line.text, Special::Plain), line.plain, "{:?}", line.text);
            assert_eq!(tokenizer.decode(&line.parsed), line.text);
        }
    }
    Ok(())
}

#[test]
fn the_known_sentence_has_the_known_ids() {
    let ids = tokenizer().encode("The quick brown fox jumps over 123 lazy dogs.", Special::Plain);
    assert_eq!(ids, [504, 2365, 6354, 16438, 27003, 690, 216, 33, 34, 35, 23790, 5046, 30]);
    assert_eq!(tokenizer().encode_document("Hi"), tokenizer().encode("Hi", Special::Parse));
    assert_eq!(tokenizer().id_of("<|im_end|>"), Some(2));
}

/// The vocabulary of hearth-nano, which has all 256 bytes.
fn nano() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| {
        let json = std::fs::read(places::nano().join("tokenizer.json")).unwrap();
        Tokenizer::from_hf(&json, None).unwrap()
    })
}

/// SmolLM2's vocabulary lacks the bytes 04, 06, 13, 14, 16, 1D, F1 and F2, and llama.cpp drops these characters just so: six
/// control characters and planes 4 to 11, where Unicode has nothing.
fn absent(c: char) -> bool {
    matches!(c, '\u{4}' | '\u{6}' | '\u{13}' | '\u{14}' | '\u{16}' | '\u{1d}' | '\u{40000}'..='\u{bffff}')
}

fn comes_back(tokenizer: &Tokenizer, text: &str, special: Special) -> Result<(), TestCaseError> {
    let ids = tokenizer.encode(text, special);
    prop_assert_eq!(tokenizer.decode(&ids), text);
    let mut stream = Utf8Stream::default();
    let pieces: String = ids.iter().map(|&id| stream.push(tokenizer.decode_bytes(id))).collect();
    prop_assert_eq!(pieces, text);
    prop_assert!(stream.is_empty());
    Ok(())
}

#[test]
fn a_vocabulary_says_whether_it_takes_any_text() {
    assert!(nano().is_lossless());
    assert!(!tokenizer().is_lossless());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_comes_back(text in any::<String>(), special in prop::bool::ANY) {
        let special = if special { Special::Parse } else { Special::Plain };
        comes_back(nano(), &text, special)?;
        comes_back(tokenizer(), &text.replace(absent, ""), special)?;
    }

    #[test]
    fn plain_text_never_holds_a_special_token(
        pieces in prop::collection::vec(prop_oneof!["<\\|im_(start|end)\\|>", "<\\|endoftext\\|>", "[<|a-z>]{0,4}", ".{0,3}"], 0..8),
    ) {
        let text = pieces.concat().replace(absent, "");
        let ids = tokenizer().encode(&text, Special::Plain);
        prop_assert!(ids.iter().all(|&id| !tokenizer().is_special(id)));
        prop_assert_eq!(tokenizer().decode(&ids), text);
    }
}

/// One test holds everything that needs the loaded weights, so that they are in memory once.
#[test]
fn smollm2_loads_scores_and_saves() -> Result<()> {
    let started = Instant::now();
    let mut last = Progress { done: 0, total: 0 };
    let bundle = ModelBundle::load(&places::smollm2()?, &cpu(), &mut |p| {
        assert!(p.done >= last.done && p.done <= p.total);
        last = p;
        ControlFlow::Continue(())
    })?;
    assert_eq!(last.done, last.total);
    eprintln!("SmolLM2-135M Q4_1 loaded in {:.2} s", started.elapsed().as_secs_f64());
    assert_eq!(bundle.config.parameters(), 134_515_008);
    assert_eq!(bundle.eos[0], 2);

    let text = std::fs::read_to_string(places::model_file("wiki_demo.txt")?)?;
    let text: String = text.chars().take(6000).collect();
    let ids = bundle.tokenizer.encode(&text, Special::Plain);
    let scores = score(&bundle, &ids[..512], 0)?;
    let nll: Vec<f64> = scores.iter().filter_map(|s| s.logprob).map(|p| -f64::from(p)).collect();
    assert_eq!(nll.len(), 511);
    let mean = nll.iter().sum::<f64>() / nll.len() as f64;
    eprintln!("mean NLL {mean:.4}");
    assert!((mean - 2.9331).abs() <= 0.003, "mean NLL {mean}, the reference has 2.9331");

    let template = bundle.template.as_ref().unwrap();
    let messages = [Message::new(Role::User, "Hi<|im_end|>"), Message::new(Role::Assistant, "Hello.")];
    let prompt = template.encode(&bundle.tokenizer, &messages[..1], true)?;
    let trained = template.encode_training(&bundle.tokenizer, &messages)?;
    assert_eq!(trained.ids[..trained.spans[0].ids.start], prompt);
    // system, user, assistant: three turns open, two close; what the user wrote closes nothing.
    assert_eq!(prompt.iter().filter(|&&id| id == 1).count(), 3);
    assert_eq!(prompt.iter().filter(|&&id| id == 2).count(), 2);

    let dir = tempfile::tempdir()?;
    let saved = dir.path().join("saved");
    bundle.save(&saved, Precision::F16)?;
    assert!(bundle.save(&saved, Precision::F16).is_err(), "a save never writes over another");
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 1, "nothing is left beside it");
    let reloaded = ModelBundle::load(&saved, &cpu(), &mut go_on)?;
    assert_eq!((reloaded.config, reloaded.eos), (bundle.config, bundle.eos));
    for ((path, a), (_, b)) in bundle.transformer.params().iter().zip(reloaded.transformer.params()) {
        let close = a.to_vec().iter().zip(b.to_vec()).all(|(a, b)| (a - b).abs() <= a.abs() * 1e-3 + 1e-7);
        assert!(close, "{path}");
    }
    Ok(())
}

#[test]
fn loading_can_be_cancelled() {
    let mut calls = 0;
    let result = ModelBundle::load(&places::smollm2().unwrap(), &cpu(), &mut |_| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(LoadError::Cancelled)));
    assert_eq!(calls, 3);
}

#[test]
fn a_cut_real_file_is_refused_by_tensor_and_offset() -> Result<()> {
    let path = places::smollm2()?;
    let source = Mapped::open(&path)?;
    let bytes = source.bytes("SmolLM2-135M-Instruct.Q4_1.gguf")?;
    for length in [bytes.len() - 1, bytes.len() / 2, 1_785_664 + 100] {
        let cut = Memory::new([("m.gguf", bytes[..length].to_vec())]);
        let error = ModelBundle::from_source(&cut, &cpu(), &mut go_on).unwrap_err().to_string();
        assert!(error.contains("tensor `") && error.contains("at byte") && error.contains("bytes"), "{error}");
    }
    for length in (0..1_785_664).step_by(99_991) {
        let cut = Memory::new([("m.gguf", bytes[..length].to_vec())]);
        assert!(ModelBundle::from_source(&cut, &cpu(), &mut go_on).is_err(), "{length}");
    }
    Ok(())
}
