//! The name that a person may have meant. It does not know what the names are names of.

/// Longer words are nobody's slip of a key, and comparing them takes long.
const MOST_CHARACTERS: usize = 64;

/// The name nearest to `word` by insertions, deletions, substitutions and swaps of neighbours, at most one for every three
/// characters; of equally near ones the first. A name with dots is a path, and compared by what stands behind the last.
pub fn nearest(word: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    nearest_by(word, names, |name| name.rsplit('.').next().unwrap_or(name))
}

/// The same of names whose dots are like any other character.
pub fn nearest_whole(word: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    nearest_by(word, names, |name| name)
}

fn nearest_by(word: &str, names: impl IntoIterator<Item = String>, compared: fn(&str) -> &str) -> Option<String> {
    let length = word.chars().count();
    if length > MOST_CHARACTERS {
        return None;
    }
    let distance = |name: &String| strsim::osa_distance(word, compared(name));
    let near = names.into_iter().map(|name| (distance(&name), name));
    let near = near.filter(|(distance, _)| *distance <= length.div_ceil(3));
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let of = |word: &str| nearest(word, ["seed", "top_p", "temperature", "hearth.top_k"].map(str::to_owned));
        for (word, meant) in [("temperatur", "temperature"), ("Temperautre", "temperature"), ("top_k", "hearth.top_k")]
        {
            assert_eq!(of(word).as_deref(), Some(meant), "{word}");
        }
        for word in ["whatever", "", "x"] {
            assert_eq!(of(word), None, "{word}");
        }
        assert_eq!(of(&"temperature".repeat(10)), None);
        let models = || ["qwen2.5-0.5b", "hearth-nano"].map(str::to_owned);
        assert_eq!(nearest_whole("qwen2.5-05b", models()).as_deref(), Some("qwen2.5-0.5b"));
        assert_eq!(nearest_whole("herth-nano", models()).as_deref(), Some("hearth-nano"));
        assert_eq!(nearest_whole("nobody", models()), None);
    }
}
