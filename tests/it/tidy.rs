//! The rules of `docs/architecture.md` marked (tidy), checked on the sources as text and as syntax trees.
//!
//! Each rule is a function from sources to complaints, and each has a test that it catches a violation. `xtask` compiles this
//! file into its own tests, which need no tensor crate, so that a broken rule shows within seconds.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::TokenTree;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 80;
const MAX_PARAMETERS: usize = 6;

/// Crates that `shared` may depend on: serde and small pure crates.
const SHARED_MAY_USE: [&str; 12] = [
    "serde",
    "serde_json",
    "thiserror",
    "unicode-normalization",
    "unicode-segmentation",
    "regex",
    "regex-lite",
    "itoa",
    "ryu",
    "schemars",
    "utoipa",
    "sha2",
];
/// Words that name a burn backend or probe its hardware.
const BACKEND_WORDS: [&str; 11] = [
    "burn_flex",
    "burn_wgpu",
    "burn_cuda",
    "burn_ndarray",
    "burn_vulkan",
    "wgpu",
    "cubecl",
    "Flex",
    "Wgpu",
    "flex",
    "cuda",
];
/// What a transformer must not know: these are applied from outside.
const APPLIED_FROM_OUTSIDE: [&str; 10] = [
    "lora",
    "peft",
    "adapter",
    "dora",
    "quantize",
    "quantizer",
    "tensor_parallel",
    "pipeline_parallel",
    "sharded",
    "nccl",
];
/// What a scheduler must not hold.
const IMPURE: [&str; 14] = [
    "burn",
    "Tensor",
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "mpsc",
    "oneshot",
    "watch",
    "broadcast",
    "Sender",
    "Receiver",
    "tokio",
    "sqlx",
    "hearth_model",
];
/// A text that begins so is a statement of SQL.
const SQL: [&str; 9] = [
    "select ",
    "insert into ",
    "insert or ",
    "update ",
    "delete from ",
    "create table",
    "alter table",
    "drop table",
    "pragma ",
];

/// One file of the repository.
struct Source {
    /// Below the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn complain(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }

    /// The words of the code that is compiled into the program: test modules, comments, attributes and literals left out.
    fn program_words(&self) -> Vec<(usize, String)> {
        let (file, tokens) = match (syn::parse_file(&self.text), self.text.parse()) {
            (Ok(file), Ok(tokens)) => (file, tokens),
            (Err(error), _) => return vec![(0, format!("does not parse: {error}"))],
            (_, Err(_)) => return vec![(0, "does not parse".to_owned())],
        };
        let tests: Vec<_> = file
            .items
            .iter()
            .filter(|item| is_test(item))
            .map(|item| item.span().start().line..=item.span().end().line)
            .collect();
        let mut words = Vec::new();
        collect_words(tokens, &mut words);
        words.retain(|(line, _)| !tests.iter().any(|lines| lines.contains(line)));
        words
    }
}

fn collect_words(tokens: proc_macro2::TokenStream, words: &mut Vec<(usize, String)>) {
    let mut after_hash = false;
    for token in tokens {
        match token {
            // `#[doc = "…"]`, `#[cfg(feature = "cuda")]`: attributes are not code.
            TokenTree::Group(group) if !after_hash => collect_words(group.stream(), words),
            TokenTree::Ident(ident) => {
                words.push((ident.span().start().line, ident.to_string()));
            }
            TokenTree::Punct(punct) if punct.as_char() == '#' || (after_hash && punct.as_char() == '!') => {
                after_hash = true;
                continue;
            }
            _ => {}
        }
        after_hash = false;
    }
}

fn is_test(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test"))
    })
}

/// Rule 1.
fn shared_stays_small(manifest: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut inside = false;
    for (index, line) in manifest.lines().enumerate() {
        if let Some(section) = line.trim().strip_prefix('[') {
            inside = section.contains("dependencies") && !section.starts_with("dev-");
            continue;
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if inside && !name.is_empty() && !name.starts_with('#') && !SHARED_MAY_USE.contains(&name) {
            complaints.push(format!("shared/Cargo.toml:{}: {name} is not on the list of small pure crates", index + 1));
        }
    }
    complaints
}

/// Complains about `words` in the program code of `source`.
fn forbid(source: &Source, words: &[&str], why: &str) -> Vec<String> {
    source
        .program_words()
        .into_iter()
        .filter(|(line, word)| *line == 0 || words.contains(&word.as_str()))
        .map(|(line, word)| source.complain(line, format!("`{word}`: {why}")))
        .collect()
}

/// Rule 2.
fn one_file_names_backends(source: &Source) -> Vec<String> {
    let ours = ["model/src/", "backend/src/", "frontend/src/", "shared/src/"];
    if source.path == "model/src/device.rs" || !ours.iter().any(|folder| source.path.starts_with(folder)) {
        return Vec::new();
    }
    forbid(source, &BACKEND_WORDS, "only model/src/device.rs names a burn backend")
}

/// Rule 3.
fn http_alone_names_axum(source: &Source) -> Vec<String> {
    let allowed = source.path.starts_with("backend/src/http") || source.path == "backend/src/error.rs";
    if allowed || !source.path.starts_with("backend/src/") {
        return Vec::new();
    }
    forbid(source, &["axum"], "only backend/src/http* and error.rs name axum")
}

/// Rule 4.
fn stores_alone_hold_sql(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    let allowed = path.ends_with("/store.rs") || path.ends_with("/db.rs") || path.starts_with("backend/src/jobs/queue");
    if allowed || !path.starts_with("backend/src/") {
        return Vec::new();
    }
    let mut texts = Texts::default();
    match syn::parse_file(&source.text) {
        Ok(mut file) => {
            file.items.retain(|item| !is_test(item));
            texts.visit_file(&file);
        }
        Err(error) => return vec![source.complain(0, error)],
    }
    texts
        .found
        .into_iter()
        .filter(|(_, text)| {
            let head = text.trim_start().to_lowercase();
            SQL.iter().any(|start| head.starts_with(start))
        })
        .map(|(line, _)| source.complain(line, "SQL stands in store.rs files, db.rs and the job queue only"))
        .collect()
}

/// String literals, those in macro calls too.
#[derive(Default)]
struct Texts {
    found: Vec<(usize, String)>,
}

impl Visit<'_> for Texts {
    fn visit_lit_str(&mut self, literal: &syn::LitStr) {
        self.found.push((literal.span().start().line, literal.value()));
    }

    fn visit_attribute(&mut self, _: &syn::Attribute) {}

    fn visit_macro(&mut self, call: &syn::Macro) {
        let mut waiting = vec![call.tokens.clone()];
        while let Some(tokens) = waiting.pop() {
            for token in tokens {
                match token {
                    TokenTree::Group(group) => waiting.push(group.stream()),
                    TokenTree::Literal(literal) => {
                        let line = literal.span().start().line;
                        if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                            self.found.push((line, text.value()));
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Rule 5.
fn transformer_knows_no_extras(source: &Source) -> Vec<String> {
    if source.path != "model/src/transformer.rs" {
        return Vec::new();
    }
    source
        .program_words()
        .into_iter()
        .filter(|(_, word)| {
            let word = word.to_lowercase();
            APPLIED_FROM_OUTSIDE.iter().any(|part| word.contains(part))
        })
        .map(|(line, word)| source.complain(line, format!("`{word}` is applied to the transformer from outside")))
        .collect()
}

/// Rule 6.
fn schedulers_are_pure(source: &Source) -> Vec<String> {
    let names = ["state.rs", "scheduler.rs"];
    let is_scheduler =
        ["backend/src/jobs/", "backend/src/serving/"].iter().any(|folder| source.path.starts_with(folder))
            && names.iter().any(|name| source.path.ends_with(&format!("/{name}")));
    if !is_scheduler {
        return Vec::new();
    }
    forbid(source, &IMPURE, "a scheduler is a pure state machine: no tensors, clocks or channels")
}

/// Rule 8.
fn sizes_and_headers(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    if !source.text.starts_with("//!") {
        complaints.push(source.complain(1, "the file does not open with `//!`"));
    }
    let lines = source.text.lines().count();
    if lines >= MAX_FILE_LINES {
        complaints.push(source.complain(lines, format!("{lines} lines, {MAX_FILE_LINES} are too many")));
    }
    match syn::parse_file(&source.text) {
        Ok(file) => {
            let mut sizes = Sizes { source, complaints: Vec::new() };
            sizes.visit_file(&file);
            complaints.extend(sizes.complaints);
        }
        Err(error) => complaints.push(source.complain(0, error)),
    }
    complaints
}

struct Sizes<'a> {
    source: &'a Source,
    complaints: Vec<String>,
}

impl Sizes<'_> {
    fn check(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let start = signature.span().start().line;
        let lines = block.span().end().line + 1 - start;
        if lines >= MAX_FUNCTION_LINES {
            let what = format!("`{}` has {lines} lines, {MAX_FUNCTION_LINES} are too many", signature.ident);
            self.complaints.push(self.source.complain(start, what));
        }
        let parameters = signature.inputs.iter().filter(|input| matches!(input, syn::FnArg::Typed(_))).count();
        if parameters >= MAX_PARAMETERS {
            let what = format!("`{}` has {parameters} parameters, {MAX_PARAMETERS} are too many", signature.ident);
            self.complaints.push(self.source.complain(start, what));
        }
    }
}

impl Visit<'_> for Sizes<'_> {
    fn visit_item_fn(&mut self, function: &syn::ItemFn) {
        // Leptos' macro makes a struct of a component's parameters: at the call they are named properties.
        let component = function.attrs.iter().any(|attribute| attribute.path().is_ident("component"));
        if !component {
            self.check(&function.sig, &function.block);
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &syn::ImplItemFn) {
        self.check(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// All Rust files of the crates.
fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    for folder in ["shared", "model", "backend", "frontend", "tests", "xtask"] {
        collect(&root, &root.join(folder), &mut found);
    }
    assert!(found.len() > 10, "the sources lie elsewhere");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(root, &path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && let Ok(text) = fs::read_to_string(&path)
        {
            let name = path.strip_prefix(root).unwrap_or(&path);
            found.push(Source { path: name.to_string_lossy().replace('\\', "/"), text });
        }
    }
}

#[track_caller]
fn holds(rule: fn(&Source) -> Vec<String>) {
    let complaints: Vec<String> = sources().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The rule complains about `bad` and not about `good`, both at `path`.
#[track_caller]
fn catches(rule: fn(&Source) -> Vec<String>, path: &str, bad: &str, good: &str) {
    let source = |text: &str| Source { path: path.to_owned(), text: text.to_owned() };
    assert!(!rule(&source(bad)).is_empty(), "{path} passes with {bad:?}");
    let complaints = rule(&source(good));
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn rule_1_shared_depends_on_small_pure_crates() {
    let manifest = fs::read_to_string(root().join("shared/Cargo.toml")).unwrap_or_default();
    assert!(manifest.contains("[dependencies]"));
    let complaints = shared_stays_small(&manifest);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    assert_eq!(shared_stays_small("[dependencies]\ntokio = \"1\"\n[dev-dependencies]\nproptest = \"1\"").len(), 1);
    assert!(shared_stays_small("[dependencies]\nserde.workspace = true\n[features]\nx = []").is_empty());
}

#[test]
fn rule_2_backends_are_named_in_one_file() {
    holds(one_file_names_backends);
    let good =
        "//! Flex is fine in words.\nfn f() { let x = \"wgpu\"; }\n#[cfg(test)] mod tests { use burn_flex::Flex; }";
    catches(one_file_names_backends, "model/src/layers.rs", "fn f() { Device::flex() }", good);
    catches(one_file_names_backends, "backend/src/a.rs", "use burn_wgpu::Wgpu;", good);
}

#[test]
fn rule_3_axum_is_named_by_http_only() {
    holds(http_alone_names_axum);
    catches(http_alone_names_axum, "backend/src/jobs.rs", "use axum::Json;", "// axum\nfn f() {}");
    catches(http_alone_names_axum, "backend/src/jobs.rs", "fn f(x: axum::Router) {}", "fn f() { log(\"axum\") }");
}

#[test]
fn rule_4_sql_stands_in_stores() {
    holds(stores_alone_hold_sql);
    let good = "fn f() { say(\"selected rows\"); }";
    catches(stores_alone_hold_sql, "backend/src/http/jobs.rs", "fn f() { sqlx::query(\"SELECT id FROM jobs\") }", good);
    catches(stores_alone_hold_sql, "backend/src/x.rs", "fn f() { q!(\"  insert into a values (1)\") }", good);
    let allowed =
        Source { path: "backend/src/jobs/store.rs".to_owned(), text: "fn f() { q(\"select 1\") }".to_owned() };
    assert!(stores_alone_hold_sql(&allowed).is_empty());
}

#[test]
fn rule_5_the_transformer_knows_no_extras() {
    holds(transformer_knows_no_extras);
    let good = "//! LoRA is applied from outside.\nfn forward() {}";
    catches(transformer_knows_no_extras, "model/src/transformer.rs", "use crate::lora::LoraSpec;", good);
}

#[test]
fn rule_6_schedulers_are_pure() {
    holds(schedulers_are_pure);
    let good = "fn next(now: u64) -> u64 { now + 1 }";
    catches(schedulers_are_pure, "backend/src/jobs/state.rs", "use std::time::Instant;", good);
    catches(schedulers_are_pure, "backend/src/serving/scheduler.rs", "fn f(x: mpsc::Sender<u8>) {}", good);
}

#[test]
fn rule_8_headers_and_sizes() {
    holds(sizes_and_headers);
    let good = "//! Header.\nfn f(a: u8, b: u8, c: u8, d: u8, e: u8) {}";
    catches(sizes_and_headers, "a.rs", "fn f() {}", good);
    catches(sizes_and_headers, "a.rs", "//! H.\nfn f(a: u8, b: u8, c: u8, d: u8, e: u8, g: u8) {}", good);
    let long = |lines: usize| format!("//! H.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
    catches(sizes_and_headers, "a.rs", &long(78), &long(70));
    let big = format!("//! H.\n{}", "const A: u8 = 0;\n".repeat(599));
    catches(sizes_and_headers, "a.rs", &big, good);
}
