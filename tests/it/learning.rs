//! The chapters of the learning path as files: both languages say the same things, every link into a lab leads somewhere, every exercise
//! is known and stands once, and every source is cited in full. What the sampling chapter says was counted is counted again.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use hearth_model::look::last_logits;
use hearth_model::sampler::stages::{Stage, stages};
use hearth_model::tokenizer::Special;
use hearth_shared::lab::sampling::Step;
use hearth_shared::learn::CHAPTERS;
use hearth_shared::learn::chapter::{Chapter, Part};
use hearth_shared::learn::exercise::{EXERCISES, Watched};
use hearth_shared::spec::Sampling;
use hearth_tests::places;

use super::browser_position::loaded;

const LANGUAGES: [&str; 2] = ["en", "zh"];
/// Begins a link that opens a lab in the frame.
const LAB: &str = "](lab:";
const ARXIV: &str = "https://arxiv.org/abs/";
const WATCHED: [Watched; 7] = [
    Watched::Words,
    Watched::Attention,
    Watched::Position,
    Watched::Sampling,
    Watched::Cache,
    Watched::Quantization,
    Watched::Jobs,
];

fn file(language: &str, name: &str) -> Result<String> {
    let path = places::root().join("public/learn").join(language).join(format!("{name}.md"));
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn chapter(language: &str, name: &str) -> Result<Chapter> {
    Chapter::parse(&file(language, name)?).with_context(|| format!("{language}/{name}.md"))
}

/// What stands between `begin` and the next `end`, wherever it does.
fn between<'a>(text: &'a str, begin: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| rest.split(end).next())
}

fn ids(chapter: &Chapter) -> Vec<&'static str> {
    chapter.tasks().map(|task| task.exercise.id).collect()
}

/// The path of an address.
fn path(address: &str) -> &str {
    address.split('?').next().unwrap_or_default()
}

#[test]
fn both_languages_have_the_same_chapters_exercises_and_lab_states() -> Result<()> {
    for language in LANGUAGES {
        let folder = places::root().join("public/learn").join(language);
        let found: BTreeSet<String> = fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        let wanted: BTreeSet<String> = CHAPTERS.iter().map(|name| format!("{name}.md")).collect();
        ensure!(found == wanted, "{language} has {found:?}");
    }
    let mut all = Vec::new();
    for name in CHAPTERS {
        let (en, zh) = (chapter("en", name)?, chapter("zh", name)?);
        ensure!(en.lab == zh.lab && en.minutes == zh.minutes, "{name}: the heads differ");
        ensure!(en.title != zh.title && !zh.title.is_ascii(), "{name}: one title for both languages");
        ensure!(ids(&en) == ids(&zh), "{name}: {:?} and {:?}", ids(&en), ids(&zh));
        ensure!((1..=3).contains(&ids(&en).len()), "{name} has {:?}", ids(&en));
        ensure!(en.parts.len() == zh.parts.len(), "{name}: the exercises stand elsewhere");
        let (en_file, zh_file) = (file("en", name)?, file("zh", name)?);
        let links = |text| between(text, LAB, ')').collect::<Vec<_>>();
        ensure!(links(&en_file) == links(&zh_file), "{name}: other links into the lab");
        all.extend(ids(&en));
    }
    let known: Vec<&str> = EXERCISES.iter().map(|exercise| exercise.id).collect();
    ensure!(all == known, "{all:?} stand in the chapters, {known:?} are known");
    Ok(())
}

#[test]
fn every_link_into_a_lab_leads_to_one() -> Result<()> {
    let labs: Vec<&str> = WATCHED.iter().filter_map(|watched| watched.lab()).collect();
    for (language, name) in LANGUAGES.iter().flat_map(|language| CHAPTERS.map(|name| (language, name))) {
        let (chapter, text) = (chapter(language, name)?, file(language, name)?);
        let links: Vec<&str> = between(&text, LAB, ')').collect();
        for address in links.iter().copied().chain(chapter.lab.as_deref()) {
            ensure!(labs.contains(&path(address)), "{language}/{name}: no lab is at {address}");
            ensure!(!address.contains(' '), "{language}/{name}: a space in {address}");
        }
        // What an exercise watches is what stands beside it.
        for task in chapter.tasks() {
            let lab = chapter.lab.as_deref().map(path);
            ensure!(task.exercise.watched.lab() == lab, "{name}: {} watches another lab", task.exercise.id);
        }
        ensure!(chapter.lab.is_some() || links.is_empty(), "{name}: a link into a frame that is not there");
    }
    Ok(())
}

#[test]
fn every_place_in_an_exercise_is_filled() -> Result<()> {
    for (language, name) in LANGUAGES.iter().flat_map(|language| CHAPTERS.map(|name| (language, name))) {
        for task in chapter(language, name)?.tasks() {
            let asked = task.exercise.asked();
            for (line, text) in task.lines() {
                for place in between(text, "{", '}') {
                    let before = ["task", "hint"].contains(&line.as_str());
                    let found = !before && task.exercise.found.contains(&place);
                    let known = asked.contains_key(place) || found;
                    ensure!(known, "{language}/{name}: nobody fills {{{place}}} in {line} of {}", task.exercise.id);
                }
            }
            let stated =
                asked.keys().all(|name| task.lines().values().any(|text| text.contains(&format!("{{{name}}}"))));
            ensure!(stated, "{language}/{name}: {} does not say all that it asks for", task.exercise.id);
        }
    }
    Ok(())
}

/// The ids in the list of sources, each checked to be cited in full.
fn sources(language: &str, name: &str) -> Result<Vec<String>> {
    let text = file(language, name)?;
    let heading = if language == "zh" { "## 出处" } else { "## Sources" };
    let (_, list) = text.split_once(heading).with_context(|| format!("{language}/{name} names no sources"))?;
    let mut ids = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty()) {
        let complain = || format!("{language}/{name}: {line}");
        let id = between(line, "[arXiv:", ']').next().with_context(complain)?;
        ensure!(line.contains(&format!("({ARXIV}{id})")), "another address: {}", complain());
        let digits = id.split_once('.').is_some_and(|(month, number)| month.len() == 4 && number.len() == 5);
        ensure!(digits && id.chars().all(|c| c.is_ascii_digit() || c == '.'), "no arXiv id: {}", complain());
        // Authors, title and year.
        let authors = line.strip_prefix("- ").and_then(|line| line.split([':', '：']).next()).unwrap_or_default();
        ensure!(authors.len() > 3 && between(line, "*", '*').next().is_some(), "{}", complain());
        let year = ["(20", "（20"].iter().any(|year| line.contains(year));
        ensure!(year, "no year: {}", complain());
        ids.push(id.to_owned());
    }
    ensure!(ids.len() >= 3, "{language}/{name} names {ids:?} only");
    Ok(ids)
}

#[test]
fn every_source_is_cited_in_both_languages() -> Result<()> {
    for name in CHAPTERS {
        let (en, zh) = (sources("en", name)?, sources("zh", name)?);
        ensure!(en == zh, "{name}: {en:?} and {zh:?}");
    }
    Ok(())
}

#[test]
fn chapters_are_of_a_length_that_is_read() -> Result<()> {
    for name in CHAPTERS {
        let words = |chapter: &Chapter, count: fn(&str) -> usize| -> usize {
            let texts = chapter.parts.iter().map(|part| match part {
                Part::Text(text) => count(text),
                Part::Exercise(_) => 0,
            });
            texts.sum()
        };
        let en = words(&chapter("en", name)?, |text| text.split_whitespace().count());
        // Characters that are no part of a word of another script.
        let zh =
            words(&chapter("zh", name)?, |text| text.chars().filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c)).count());
        ensure!((450..=950).contains(&en), "{name} has {en} words");
        ensure!((700..=1900).contains(&zh), "{name} has {zh} characters");
    }
    Ok(())
}

/// Of the two texts that the chapter compares: the entropy of what the model says, the probability of its 40 likeliest tokens in whole per
/// cent, and how many tokens are left by a top-p of 0.9 and by a min-p of 0.05.
#[tokio::test]
async fn the_sampling_chapter_says_what_the_model_computes() -> Result<()> {
    let bundle = loaded(&places::nano())?;
    for (text, entropy, likeliest, [by_top_p, by_min_p]) in [
        ("The old man and the sea. The old man and the", "8.27", "44 %", ["391", "107"]),
        ("The people of the United", "0.60", "99 %", ["1", "2"]),
    ] {
        let prompt = bundle.tokenizer.encode(text, Special::Parse);
        let logits = last_logits(&bundle.transformer, &prompt).await?;
        let stage = |step: Step, sampling: Sampling| -> Result<Stage> {
            let found = stages(&logits, &prompt, &sampling).into_iter().find(|stage| stage.step == step);
            found.context("a stage")
        };
        let plain = Sampling::default();
        let model = stage(Step::Model, plain.clone())?;
        let forty = stage(Step::TopK, Sampling { top_k: Some(40), ..plain.clone() })?;
        let top_p = stage(Step::TopP, Sampling { top_p: 0.9, ..plain.clone() })?;
        let min_p = stage(Step::MinP, Sampling { min_p: 0.05, ..plain })?;
        ensure!(format!("{:.2}", model.entropy) == entropy, "{text}: {} bits", model.entropy);
        let held = 1.0 - forty.removed;
        ensure!(format!("{:.0} %", held * 100.0) == likeliest, "{text}: 40 tokens hold {held}");
        let left = [top_p.kept.to_string(), min_p.kept.to_string()];
        ensure!(left == [by_top_p, by_min_p], "{text}: {left:?} are left");
        for language in LANGUAGES {
            let chapter = file(language, "sampling")?;
            for said in [text, entropy, likeliest] {
                ensure!(chapter.contains(said), "{language}/sampling.md does not say {said:?}");
            }
            let compared = chapter.lines().find(|line| line.contains("391") && line.contains("107"));
            let compared = compared.context("the line that compares what is left")?;
            let numbers: Vec<&str> = compared.split(|c: char| !c.is_ascii_digit()).collect();
            for said in [by_top_p, by_min_p] {
                ensure!(numbers.contains(&said), "{language}/sampling.md does not say {said:?}: {compared}");
            }
        }
    }
    Ok(())
}
