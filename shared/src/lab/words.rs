//! The tokenizer lab: a text as several vocabularies cut it, merge by merge; what languages cost; a vocabulary learned in the
//! tab. A [`Trail`] can be walked on the page: it knows no tokenizer.

use serde::{Deserialize, Serialize};

use super::{LabError, LabModel};

/// Longest text that is cut, in characters. What is longer is read to here.
pub const MOST_CHARACTERS: usize = 20_000;
/// Tokens of a text whose bytes are told; the ids are all there.
pub const SHOWN_TOKENS: usize = 2_000;
/// Characters at the beginning of a text whose merges are told one by one.
pub const STEPPED_CHARACTERS: usize = 300;
/// Sizes that a vocabulary may be learned in: the smallest and the largest.
pub const SIZES: (u32, u32) = (300, 2_000);
/// A pair seen less often is not learned.
pub const MIN_FREQUENCY: u64 = 2;

/// See [`super::Request::Words`]. Each variant is a kind of call by itself: a cut does not stop a lesson.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Ask {
    /// Answered by [`Found::Cut`].
    Cut {
        text: String,
        /// Whether text that looks like a control token (`<|im_end|>`) is read as one.
        special: bool,
        vocabularies: Vec<Vocabulary>,
    },
    /// The merges that make the beginning's tokens. Answered by [`Found::Merged`].
    Merge { text: String, special: bool, vocabulary: Vocabulary },
    /// What [`PARALLEL`] costs. Answered by [`Found::Cost`].
    Cost { vocabularies: Vec<Vocabulary> },
    /// Learn byte-pair merges, from the text or, without one, from the call's only buffer: JSON lines with a `text`. Answered
    /// by [`Found::Learned`].
    Learn { vocab_size: u32, text: Option<String> },
}

impl Ask {
    /// Calls of one kind supersede one another.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "words",
            Self::Merge { .. } => "words_merge",
            Self::Cost { .. } => "words_cost",
            Self::Learn { .. } => "words_learn",
        }
    }
}

/// Whose tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Vocabulary {
    Model {
        model: LabModel,
    },
    /// One learned in the tab: the text of its `tokenizer.json`.
    Learned {
        json: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Found {
    /// In the order they were asked for; one that cannot be had says why, and the others stand.
    Cut {
        size: Size,
        cuts: Vec<Result<Cut, LabError>>,
    },
    Merged {
        algorithm: String,
        /// None where the vocabulary has no merges.
        trail: Option<Trail>,
    },
    /// For each vocabulary the languages in the order of [`PARALLEL`].
    Cost {
        costs: Vec<Result<Vec<Cost>, LabError>>,
    },
    Learned(Learned),
}

/// How long a text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Unicode scalar values.
    pub characters: u64,
    /// In UTF-8.
    pub bytes: u64,
}

impl Size {
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { characters: text.chars().count() as u64, bytes: text.len() as u64 }
    }
}

/// A text in tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    pub vocab_size: u32,
    /// `BPE`, `Unigram`, `WordPiece` or `WordLevel`.
    pub algorithm: String,
    /// All of them.
    pub ids: Vec<u32>,
    /// The bytes of the first [`SHOWN_TOKENS`].
    pub shown: Vec<Vec<u8>>,
    /// Tokens that are a part of a character, or stand for what the vocabulary lacks.
    pub broken: u32,
    /// Whether the tokens' bytes, joined, are the text's.
    pub exact: bool,
}

/// What the same sentences cost in one language.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub tokens: u32,
    /// Tokens for each one of the first language's.
    pub relative: f64,
}

/// A token and its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    pub id: u32,
    pub bytes: Vec<u8>,
}

/// How a text's tokens come to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// What merging begins with: bytes, or characters in a vocabulary of those.
    pub start: Vec<Token>,
    /// Where each word of the splitting rules ends in `start`. No merge crosses an end.
    pub words: Vec<u32>,
    pub steps: Vec<Step>,
    /// Length of the text that was merged.
    pub characters: u32,
    /// Whether `start` holds single bytes.
    pub from_bytes: bool,
    /// Words that the vocabulary takes whole, without merging.
    pub whole: u32,
    /// Whether the last step's pieces are the tokenizer's own tokens.
    pub equal: bool,
}

/// One pair, joined wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// 0 was learned first.
    pub rank: u32,
    /// The token it becomes.
    pub joined: u32,
    /// Where the left pieces begin in [`Trail::start`].
    pub places: Vec<u32>,
}

/// A run of [`Trail::start`] that is one token by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: u32,
    pub start: usize,
    pub end: usize,
    /// Which word it is in.
    pub word: usize,
    /// The last step made it.
    pub fresh: bool,
    /// The next step joins it: as the left one or the right one.
    pub next: bool,
}

impl Trail {
    /// The pieces after so many steps, in order.
    #[must_use]
    pub fn pieces(&self, steps: usize) -> Vec<Piece> {
        let steps = steps.min(self.steps.len());
        let mut spans = Spans::new(self);
        let mut fresh = vec![false; self.start.len()];
        for (index, step) in self.steps[..steps].iter().enumerate() {
            for &place in &step.places {
                spans.join(place as usize, step.joined);
                if index + 1 == steps {
                    fresh.get_mut(place as usize).into_iter().for_each(|made| *made = true);
                }
            }
        }
        let mut next = vec![false; self.start.len()];
        for &place in self.steps.get(steps).iter().flat_map(|step| &step.places) {
            let place = place as usize;
            let right = place + spans.length.get(place).copied().unwrap_or_default();
            for at in [place, right] {
                next.get_mut(at).into_iter().for_each(|joined| *joined = true);
            }
        }
        let mut pieces = Vec::new();
        let mut word = 0;
        for start in (0..self.start.len()).filter(|&start| spans.length[start] > 0) {
            while self.words.get(word).is_some_and(|&end| end as usize <= start) {
                word += 1;
            }
            let end = start + spans.length[start];
            pieces.push(Piece {
                id: spans.ids[start],
                start,
                end,
                word,
                fresh: fresh[start] && steps > 0,
                next: next[start],
            });
        }
        pieces
    }

    /// The bytes of both halves of a step's pair.
    #[must_use]
    pub fn pair(&self, step: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let place = *self.steps.get(step)?.places.first()? as usize;
        let pieces = self.pieces(step);
        let left = pieces.iter().position(|piece| piece.start == place)?;
        let right = pieces.get(left + 1)?;
        Some((self.bytes(&pieces[left]), self.bytes(right)))
    }

    #[must_use]
    pub fn bytes(&self, piece: &Piece) -> Vec<u8> {
        self.start[piece.start..piece.end].iter().flat_map(|token| &token.bytes).copied().collect()
    }
}

/// Which runs of the start are one piece.
struct Spans {
    ids: Vec<u32>,
    /// 0 for what is inside another piece.
    length: Vec<usize>,
}

impl Spans {
    fn new(trail: &Trail) -> Self {
        Self { ids: trail.start.iter().map(|token| token.id).collect(), length: vec![1; trail.start.len()] }
    }

    /// Joins the piece at `place` with the one behind it; a place outside the text changes nothing.
    fn join(&mut self, place: usize, joined: u32) {
        let right = place + self.length.get(place).copied().unwrap_or_default();
        if right > place && right < self.length.len() {
            self.length[place] += std::mem::take(&mut self.length[right]);
            self.ids[place] = joined;
        }
    }
}

/// A vocabulary that was learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// In the order they were learned.
    pub merges: Vec<LearnedMerge>,
    /// Bytes and merges; smaller than was asked where no pair was frequent enough.
    pub vocab_size: u32,
    /// What it was learned from.
    pub texts: u32,
    pub size: Size,
    /// Different words of the splitting rules.
    pub words: u32,
    /// The text of its `tokenizer.json`.
    pub json: String,
    pub ms: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedMerge {
    pub left: Vec<u8>,
    pub right: Vec<u8>,
    /// How often the pair stood in the texts when it was joined.
    pub count: u64,
}

/// How every lab writes what is only a part of a character: its bytes in hexadecimal, `⟨E6 9D⟩`.
#[must_use]
pub fn part(bytes: &[u8]) -> String {
    format!("⟨{}⟩", hex(bytes))
}

/// Bytes in hexadecimal, apart: `E6 9D`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}

/// The same sentences in another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// BCP 47.
    pub code: &'static str,
    /// What its speakers call it.
    pub name: &'static str,
    pub text: &'static str,
}

/// Three everyday sentences. The first language is what the others are measured by.
pub const PARALLEL: [Parallel; 9] = [
    Parallel {
        code: "en",
        name: "English",
        text: "The weather is fine today, so we are walking to the river. My brother reads a book under an old tree. In the evening we cook rice and drink tea together.",
    },
    Parallel {
        code: "zh",
        name: "中文",
        text: "今天天气很好，所以我们走路去河边。我哥哥在一棵老树下看书。晚上我们一起煮米饭、喝茶。",
    },
    Parallel {
        code: "es",
        name: "Español",
        text: "Hoy hace buen tiempo, así que vamos caminando al río. Mi hermano lee un libro debajo de un árbol viejo. Por la noche cocinamos arroz y tomamos té juntos.",
    },
    Parallel {
        code: "fr",
        name: "Français",
        text: "Il fait beau aujourd'hui, alors nous marchons jusqu'à la rivière. Mon frère lit un livre sous un vieil arbre. Le soir, nous cuisons du riz et buvons du thé ensemble.",
    },
    Parallel {
        code: "de",
        name: "Deutsch",
        text: "Heute ist das Wetter schön, deshalb gehen wir zu Fuß zum Fluss. Mein Bruder liest ein Buch unter einem alten Baum. Am Abend kochen wir Reis und trinken zusammen Tee.",
    },
    Parallel {
        code: "ru",
        name: "Русский",
        text: "Сегодня хорошая погода, поэтому мы идём пешком к реке. Мой брат читает книгу под старым деревом. Вечером мы вместе варим рис и пьём чай.",
    },
    Parallel {
        code: "ar",
        name: "العربية",
        text: "الطقس جميل اليوم، لذلك نمشي إلى النهر. أخي يقرأ كتابًا تحت شجرة قديمة. في المساء نطبخ الأرز ونشرب الشاي معًا.",
    },
    Parallel {
        code: "hi",
        name: "हिन्दी",
        text: "आज मौसम अच्छा है, इसलिए हम पैदल नदी तक जा रहे हैं। मेरा भाई एक पुराने पेड़ के नीचे किताब पढ़ रहा है। शाम को हम साथ में चावल पकाते हैं और चाय पीते हैं।",
    },
    Parallel {
        code: "ja",
        name: "日本語",
        text: "今日は天気がいいので、私たちは川まで歩いていきます。兄は古い木の下で本を読んでいます。夜は一緒にご飯を炊いて、お茶を飲みます。",
    },
];

/// The beginning of a text, so many characters long.
#[must_use]
pub fn beginning(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    fn trail() -> Trail {
        // "aab ab": a is 0, b is 1, the space 2, ab 3, aab 4.
        let start = "aab ab".bytes().map(|byte| Token {
            id: match byte {
                b'a' => 0,
                b'b' => 1,
                _ => 2,
            },
            bytes: vec![byte],
        });
        Trail {
            start: start.collect(),
            words: vec![3, 6],
            steps: vec![Step { rank: 0, joined: 3, places: vec![1, 4] }, Step { rank: 1, joined: 4, places: vec![0] }],
            characters: 6,
            from_bytes: true,
            whole: 0,
            equal: true,
        }
    }

    #[test]
    fn a_trail_is_walked_forward_and_back() {
        let trail = trail();
        let texts = |steps| {
            let pieces = trail.pieces(steps);
            pieces.iter().map(|piece| String::from_utf8(trail.bytes(piece)).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(texts(0), ["a", "a", "b", " ", "a", "b"]);
        assert_eq!(texts(1), ["a", "ab", " ", "ab"]);
        assert_eq!(texts(2), ["aab", " ", "ab"]);
        assert_eq!(texts(99), texts(2));
        let after = trail.pieces(1);
        let of = |read: fn(&Piece) -> bool| after.iter().map(read).collect::<Vec<_>>();
        assert_eq!(of(|piece| piece.fresh), [false, true, false, true]);
        assert_eq!(of(|piece| piece.next), [true, true, false, false]);
        assert_eq!(after.iter().map(|piece| piece.word).collect::<Vec<_>>(), [0, 0, 1, 1]);
        assert_eq!(trail.pair(1), Some((b"a".to_vec(), b"ab".to_vec())));
        assert_eq!(trail.pair(2), None);
    }

    #[test]
    fn a_trail_that_leaves_the_text_is_no_panic() {
        let mut trail = trail();
        trail.steps.push(Step { rank: 2, joined: 9, places: vec![5, 77] });
        assert_eq!(trail.pieces(3).len(), trail.pieces(2).len());
        assert_eq!(trail.pair(2), None);
    }

    #[test]
    fn beginnings_are_whole_characters() {
        assert_eq!(beginning("你好吗", 2), "你好");
        assert_eq!(beginning("你好", 2), "你好");
        assert_eq!(beginning("", 3), "");
    }

    #[test]
    fn answers_survive_the_crossing() {
        let found = Found::Cut { size: Size::of("é"), cuts: vec![Err(LabError::NoModel)] };
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Found>(&text).unwrap(), found);
        let found = Found::Merged { algorithm: "BPE".into(), trail: Some(trail()) };
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Found>(&text).unwrap(), found);
        assert_eq!(PARALLEL[0].code, "en");
    }
}
