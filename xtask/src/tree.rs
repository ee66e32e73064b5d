//! `cargo xtask tree`: the list of sources in README, a line a file, from the first sentence of each file's header.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const FOLDERS: [&str; 6] = ["shared", "model", "backend", "frontend", "tests", "xtask"];
const BEGIN: &str = "<!-- tree: written by `cargo xtask tree` -->\n";
const END: &str = "<!-- end of tree -->";
/// Endings of sources, and what their header comment begins with.
const KINDS: [(&str, &str); 6] =
    [("rs", "//!"), ("py", "\"\"\""), ("mjs", "//"), ("js", "//"), ("css", "/*"), ("sql", "--")];

/// Writes the list into README.
pub fn write(root: &Path) -> Result<()> {
    let path = root.join("README.md");
    fs::write(&path, with_tree(root, &fs::read_to_string(&path)?)?)?;
    Ok(())
}

/// README with the list as the sources have it now.
fn with_tree(root: &Path, readme: &str) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("README.md has no place for the tree")?;
    let (_, after) = rest.split_once(END).context("the tree in README.md has no end")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", tree(root)?))
}

fn tree(root: &Path) -> Result<String> {
    let mut out = String::new();
    for folder in FOLDERS {
        let mut files = Vec::new();
        collect(&root.join(folder), &mut files)?;
        files.sort();
        writeln!(out, "\n<details><summary><code>{folder}</code>, {} files</summary>\n", files.len())?;
        writeln!(out, "| file | holds |\n|---|---|")?;
        for file in files {
            let path = file.strip_prefix(root)?.components().map(|part| part.as_os_str().to_string_lossy());
            let path = path.collect::<Vec<_>>().join("/");
            writeln!(out, "| `{path}` | {} |", sentence(&file)?.replace('|', "\\|"))?;
        }
        writeln!(out, "\n</details>")?;
    }
    Ok(out + "\n")
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || ["target", "dist", "node_modules", "__pycache__"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if comment(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
}

fn comment(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?;
    KINDS.iter().find(|(kind, _)| *kind == ending).map(|(_, comment)| *comment)
}

/// The first sentence of a file's header.
fn sentence(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path)?;
    let start = comment(path).unwrap_or_default();
    let (_, header) = text.split_once(start).with_context(|| format!("{} has no header", path.display()))?;
    let paragraph = match start {
        "/*" => header.split("*/").next().unwrap_or_default().to_owned(),
        "\"\"\"" => header.split("\"\"\"").next().unwrap_or_default().to_owned(),
        _ => {
            let first = header.lines().take(1);
            let more = header.lines().skip(1).map_while(|line| line.trim().strip_prefix(start));
            first.chain(more).take_while(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
        }
    };
    let words = paragraph.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let end = words.find(". ").or(words.strip_suffix('.').map(str::len)).unwrap_or(words.len());
    Ok(without_links(words[..end].trim_end_matches(':')))
}

/// The names that rustdoc links, without the links: README has no place where they lead.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else {
            break;
        };
        out.push_str(&format!("{before}`{name}`"));
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_rustdoc_are_left_out() {
        let text =
            "A [`Transformer`](crate::transformer::Transformer) of [`hf::Shape`], [a link](https://a.b) and a[0]";
        assert_eq!(without_links(text), "A `Transformer` of `hf::Shape`, [a link](https://a.b) and a[0]");
        assert_eq!(without_links("[`a"), "[`a");
    }

    #[test]
    fn readme_lists_every_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout");
        let readme = fs::read_to_string(root.join("README.md")).expect("README.md is text");
        let fresh = with_tree(root, &readme).expect("every source has a header");
        assert!(fresh == readme, "README's tree is old: run `cargo xtask tree`");
    }
}
