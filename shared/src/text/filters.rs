//! Rules on whole documents, with limits over their measures, and a few on their very words. Those that know English say nothing
//! of other scripts. They decide what a corpus for pretraining keeps; chats have rules of their own.

use serde::{Deserialize, Serialize};

use super::quality::Quality;
use super::rules::{Lang, RuleText};

macro_rules! filters {
    ($($name:ident $id:literal $kept_by:ident $source:literal
       $en:literal => $en_fix:literal; $zh:literal => $zh_fix:literal)+) => {
        /// A rule on a document. Its wire form is the id.
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Filter {
            $(#[serde(rename = $id)] $name,)+
        }

        impl Filter {
            /// All rules, in the order of their declaration.
            pub const ALL: &'static [Filter] = &[$(Filter::$name,)+];

            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            /// Where its limit comes from.
            pub fn source(self) -> &'static str {
                match self { $(Self::$name => $source,)+ }
            }

            /// Whether a document that breaks it is dropped unless somebody says otherwise. Others only suit prose of the web.
            pub fn is_default(self) -> bool {
                match self { $(Self::$name => Usual::$kept_by.is_default(),)+ }
            }

            pub fn text(self, lang: Lang) -> RuleText {
                match (self, lang) {
                    $((Self::$name, Lang::En) => RuleText { message: $en, fix: $en_fix },
                      (Self::$name, Lang::Zh) => RuleText { message: $zh, fix: $zh_fix },)+
                }
            }
        }
    };
}

/// When a rule drops a document.
enum Usual {
    Default,
    Asked,
}

impl Usual {
    fn is_default(&self) -> bool {
        matches!(self, Self::Default)
    }
}

filters! {
    FewWords "words.few" Default "Gopher (Rae et al. 2021)"
        "The document has fewer than 50 words." => "Drop it, or join it with what it belongs to.";
        "文档少于 50 个词（中文按字计）。" => "请删除，或与相关内容合并。"
    ManyWords "words.many" Default "Gopher (Rae et al. 2021)"
        "The document has more than 100,000 words." => "Split it into its chapters.";
        "文档超过 100000 个词（中文按字计）。" => "请按章节拆分。"
    WordLength "words.length" Default "Gopher (Rae et al. 2021)"
        "The mean word is shorter than 3 or longer than 10 characters, as in tables, code and lists of addresses." => "Drop it, or keep the prose in it.";
        "平均词长小于 3 或大于 10 个字符，常见于表格、代码或网址列表。" => "请删除，或只保留其中的正文。"
    Alphabetic "words.alphabetic" Default "Gopher (Rae et al. 2021)"
        "Fewer than 80 % of the words hold a letter." => "Drop tables of numbers and lines of marks.";
        "含字母的词不足 80%。" => "请删除数字表格和符号行。"
    StopWords "words.stop_words" Default "Gopher (Rae et al. 2021)"
        "Fewer than two of eight common English words (the, be, to, of, and, that, have, with) are in it." => "Drop keyword lists; use `--drop` without this rule for other languages in Latin letters.";
        "八个常见英文词（the、be、to、of、and、that、have、with）出现不足两个。" => "请删除关键词堆砌；若为其他使用拉丁字母的语言，请用 `--drop` 排除此规则。"
    Symbols "symbols.many" Default "Gopher (Rae et al. 2021)"
        "There is more than one # or ellipsis for ten words." => "Drop lists of tags and cut-off teasers.";
        "每十个词中 # 或省略号超过一个。" => "请删除标签列表和被截断的摘要。"
    Bullets "lines.bullets" Default "Gopher (Rae et al. 2021)"
        "More than 90 % of the lines begin with a bullet." => "Drop navigation and bare lists.";
        "超过 90% 的行以项目符号开头。" => "请删除导航栏和纯列表。"
    Ellipses "lines.ellipses" Default "Gopher (Rae et al. 2021)"
        "More than 30 % of the lines end with an ellipsis." => "Drop pages of teasers.";
        "超过 30% 的行以省略号结尾。" => "请删除摘要列表页。"
    Unpunctuated "lines.unpunctuated" Default "FineWeb (Penedo et al. 2024)"
        "At most 12 % of the lines end with a mark of a sentence." => "Drop menus, tables and lists of names.";
        "以句末标点结尾的行不超过 12%。" => "请删除菜单、表格和名单。"
    ShortLines "lines.short" Default "FineWeb (Penedo et al. 2024)"
        "At least 67 % of the lines are shorter than 30 columns." => "Join wrapped lines; drop menus and lists.";
        "至少 67% 的行短于 30 列（一个汉字占两列）。" => "请合并被折断的行，删除菜单和列表。"
    DuplicateLines "repetition.lines" Default "Gopher (Rae et al. 2021)"
        "More than 30 % of the lines, or 20 % of their characters, stood before in the document." => "Drop it, or keep each line once.";
        "超过 30% 的行（或 20% 的字符）在文档中重复出现。" => "请删除，或每行只保留一次。"
    TopNgram "repetition.top_ngram" Default "Gopher (Rae et al. 2021)"
        "One phrase of 2, 3 or 4 words makes up more than 20, 18 or 16 % of the text." => "Drop it: it says one thing again and again.";
        "某个 2、3 或 4 词短语占全文的 20%、18% 或 16% 以上（中文看 4 字，20%）。" => "请删除：内容在反复说同一句话。"
    DuplicateNgrams "repetition.duplicate_ngrams" Default "Gopher (Rae et al. 2021)"
        "Phrases of 5 to 10 words that stood before make up more than 15 to 10 % of the text." => "Drop it, or keep each passage once.";
        "重复出现的 5 至 10 词短语占全文的 15% 至 10% 以上（中文看 10 字，15%）。" => "请删除，或每段只保留一次。"
    Replacement "characters.replacement" Default "Hearth"
        "More than one character in a thousand is U+FFFD: the text was read in a wrong encoding." => "Convert it anew from its source.";
        "超过千分之一的字符是 U+FFFD：文本曾以错误编码读取。" => "请从原始文件重新转换。"
    Control "characters.control" Default "Hearth"
        "More than one character in a thousand is a control character." => "Drop it: it is no text, or clean it.";
        "超过千分之一的字符是控制字符。" => "请删除非文本内容，或先清洗。"
    LoremIpsum "words.lorem_ipsum" Default "C4 (Raffel et al. 2020)"
        "It holds the filler `lorem ipsum`." => "Drop it: it is a page without content.";
        "含有占位文本 `lorem ipsum`。" => "请删除：页面没有内容。"
    Javascript "words.javascript" Default "C4 (Raffel et al. 2020)"
        "A line asks to turn JavaScript on." => "Drop the line, or the page.";
        "有一行要求启用 JavaScript。" => "请删除该行或整页。"
    Braces "words.braces" Asked "C4 (Raffel et al. 2020)"
        "It holds a `{`: most often code." => "Drop it where only prose is wanted.";
        "含有 `{`，多半是代码。" => "若只需要正文，请删除。"
}

impl Filter {
    /// By its id.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|filter| filter.id() == id)
    }

    fn is_broken(self, quality: &Quality, text: &str) -> bool {
        // Where a character is a word, so many words are about twice as many characters.
        let unspaced = quality.unspaced() > 0.5;
        match self {
            Self::FewWords => quality.words < 50,
            Self::ManyWords => quality.words > 100_000,
            Self::WordLength => quality.is_latin() && !(3.0..=10.0).contains(&quality.mean_word_length),
            Self::Alphabetic => quality.alphabetic_words < if unspaced { 0.7 } else { 0.8 },
            Self::StopWords => quality.is_latin() && quality.stop_words < 2,
            Self::Symbols => quality.symbols_per_word > 0.1,
            Self::Bullets => quality.bullet_lines > 0.9,
            Self::Ellipses => quality.ellipsis_lines > 0.3,
            Self::Unpunctuated => quality.punctuated_lines <= 0.12,
            Self::ShortLines => quality.short_lines >= 0.67,
            Self::DuplicateLines => quality.duplicate_lines > 0.3 || quality.duplicate_line_characters > 0.2,
            Self::TopNgram if unspaced => quality.top_ngrams[2] > 0.2,
            Self::TopNgram => above(&quality.top_ngrams, &[0.20, 0.18, 0.16]),
            Self::DuplicateNgrams if unspaced => quality.duplicate_ngrams[5] > 0.15,
            Self::DuplicateNgrams => above(&quality.duplicate_ngrams, &[0.15, 0.14, 0.13, 0.12, 0.11, 0.10]),
            Self::Replacement => quality.replacement_characters * 1000 > quality.characters,
            Self::Control => quality.control_characters * 1000 > quality.characters,
            Self::LoremIpsum => contains(text, "lorem ipsum"),
            Self::Javascript => text.lines().any(|line| {
                contains(line, "javascript")
                    && ["enable", "disabled", "turn on"].iter().any(|word| contains(line, word))
            }),
            Self::Braces => text.contains('{'),
        }
    }
}

fn above(values: &[f64], limits: &[f64]) -> bool {
    values.iter().zip(limits).any(|(value, limit)| value > limit)
}

/// Whether ASCII `what` is in `text`, in any case.
fn contains(text: &str, what: &str) -> bool {
    let first = what.as_bytes()[0];
    let bytes = text.as_bytes();
    bytes.iter().enumerate().any(|(i, byte)| {
        byte.eq_ignore_ascii_case(&first)
            && bytes.get(i..i + what.len()).is_some_and(|part| part.eq_ignore_ascii_case(what.as_bytes()))
    })
}

/// The rules that a document breaks, in their order. `quality` is that of `text`.
pub fn broken(quality: &Quality, text: &str) -> Vec<Filter> {
    Filter::ALL.iter().copied().filter(|filter| filter.is_broken(quality, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::quality::measure;

    fn ids(text: &str) -> Vec<&'static str> {
        broken(&measure(text), text).into_iter().map(Filter::id).collect()
    }

    const ENGLISH: &str = "The river rose in the night, and by morning the lower fields were under water. Nobody had expected it, for \
        the snow in the hills had been thin that winter.\nThe miller opened his gates as far as they would go. His wife \
        carried the flour up to the loft, sack by sack, and their son led the horses to the church, where the ground \
        was higher.\nWhen the sun came out at noon they could see how far it reached: past the bridge, past the two \
        poplars that have always marked the border, and nearly to the road.";
    const CHINESE: &str = "河水在夜里上涨，到了清晨，低处的田地已经全部被淹没。没有人料到会这样，因为那年冬天山里的雪下得很薄。\n\
        磨坊主把闸门开到最大，他的妻子一袋一袋地把面粉搬上阁楼，儿子则牵着马去了教堂，那里的地势更高一些。\n\
        中午太阳出来的时候，他们才看清水漫到了哪里：过了桥，过了那两棵一直当作界标的白杨，几乎到了大路边上。";

    #[test]
    fn prose_breaks_no_rule() {
        assert_eq!(ids(ENGLISH), [""; 0]);
        assert_eq!(ids(CHINESE), [""; 0]);
        assert_eq!(ids(&format!("{CHINESE}\n{ENGLISH}")), [""; 0]);
        let russian = "Река поднялась ночью, и к утру нижние поля были под водой, чего никто не ожидал в тот год. ";
        let more = "Мельник открыл ворота так широко, как мог, а жена его носила муку на чердак мешок за мешком. Их сын \
            отвёл лошадей к церкви, где земля была выше, и вернулся только к вечеру. Когда в полдень вышло солнце, \
            стало видно, как далеко дошла вода: за мост, за два тополя, почти до самой дороги.";
        assert_eq!(ids(&format!("{russian}{more}")), [""; 0]);
    }

    #[test]
    fn lists_and_menus_are_told_by_their_lines() {
        let words = ["home", "about", "the team", "contact", "help with that", "sign in", "news", "shop", "cart"];
        let menu: Vec<String> = (0..60).map(|i| format!("- {} {i}", words[i % words.len()])).collect();
        let found = ids(&menu.join("\n"));
        for wanted in ["lines.bullets", "lines.unpunctuated", "lines.short"] {
            assert!(found.contains(&wanted), "{found:?}");
        }
        let teasers = ENGLISH.replace(". ", "...\n").replace(", ", "…\n");
        assert!(ids(&teasers).contains(&"lines.ellipses"));
    }

    #[test]
    fn repeated_text_is_told_in_both_languages() {
        let spam = "Buy cheap watches here and have them with you today. ".repeat(30);
        let found = ids(&spam);
        assert!(found.contains(&"repetition.duplicate_ngrams"), "{found:?}");
        assert!(ids(&"buy now ".repeat(60)).contains(&"repetition.top_ngram"));
        assert!(ids(&format!("{ENGLISH}\n{ENGLISH}")).contains(&"repetition.lines"));
        let chinese = "点击这里领取优惠券，".repeat(30);
        assert!(ids(&chinese).contains(&"repetition.duplicate_ngrams"), "{:?}", ids(&chinese));
        assert!(ids(&"哈哈哈哈".repeat(30)).contains(&"repetition.top_ngram"));
    }

    #[test]
    fn code_numbers_and_tags_are_told() {
        let code: Vec<String> = (0..40).map(|i| format!("    let x{i} = {{ a[{i}] + {i} * y }};")).collect();
        let found = ids(&code.join("\n"));
        assert!(found.contains(&"words.braces") && found.contains(&"words.alphabetic"), "{found:?}");
        let numbers: Vec<String> = (0..80).map(|i| (i * 7919 % 1000).to_string()).collect();
        assert!(ids(&numbers.join(" ")).contains(&"words.alphabetic"));
        let tags: Vec<String> = (0..60).map(|i| format!("#holiday{i}")).collect();
        let found = ids(&tags.join(" "));
        assert!(found.contains(&"symbols.many") && found.contains(&"words.stop_words"), "{found:?}");
        assert_eq!(ids("A short note."), ["words.few", "words.stop_words", "lines.short"]);
    }

    #[test]
    fn what_the_web_leaves_behind_is_told_by_its_words() {
        assert_eq!(ids(&format!("{ENGLISH}\nLorem Ipsum dolor sit amet.")), ["words.lorem_ipsum"]);
        assert_eq!(ids(&format!("{ENGLISH}\nPlease enable JavaScript to go on.")), ["words.javascript"]);
        assert_eq!(ids(&format!("{ENGLISH}\nJavaScript is a language that she taught.")), [""; 0]);
        assert_eq!(ids(&format!("{ENGLISH} \u{fffd}\u{fffd}\u{0}")), ["characters.replacement", "characters.control"]);
    }

    #[test]
    fn every_rule_speaks_both_languages_and_has_its_own_id() {
        for filter in Filter::ALL {
            let (en, zh) = (filter.text(Lang::En), filter.text(Lang::Zh));
            assert!(en.message.is_ascii() && en.fix.is_ascii(), "{filter:?}");
            assert!(!zh.message.is_ascii() && !zh.fix.is_ascii(), "{filter:?}");
            assert_eq!(serde_json::to_value(filter).ok(), Some(filter.id().into()));
            assert_eq!(Filter::from_id(filter.id()), Some(*filter));
        }
        assert_eq!(Filter::ALL.iter().filter(|filter| !filter.is_default()).count(), 1);
    }
}
