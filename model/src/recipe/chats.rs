//! Conversations for the last stage of hearth-nano, made from the training texts by fixed templates: the model learns to take
//! turns, to say what it is, to go on with a sentence, to repeat one, and a few facts its texts hold. Same corpus and seed,
//! same conversations.

use hearth_shared::text::{Message, Role};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::corpus::{Document, Language};

/// A question and its answer.
type Turn = (String, String);

/// `count` conversations of one to three turns, half of them English.
pub fn make(documents: &[Document], count: usize, seed: u64) -> Vec<Vec<Message>> {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let materials = Materials::new(documents);
    (0..count).map(|i| conversation(&materials, i % 2 == 0, &mut dice)).collect()
}

struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// What the templates are filled with.
struct Materials<'a> {
    /// Sentence and the one after it.
    english: Vec<(&'a str, &'a str)>,
    chinese: Vec<(&'a str, &'a str)>,
    /// Year and president.
    addresses: Vec<(String, String)>,
    /// Chapter number and title of the Three Kingdoms.
    chapters: Vec<(usize, &'a str)>,
    /// Number and title of Moby Dick's chapters.
    whale: Vec<(usize, &'a str)>,
    poems: Vec<Poem<'a>>,
}

struct Poem<'a> {
    title: &'a str,
    author: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Materials<'a> {
    fn new(documents: &'a [Document]) -> Self {
        let mut out = Self {
            english: Vec::new(),
            chinese: Vec::new(),
            addresses: Vec::new(),
            chapters: Vec::new(),
            whale: Vec::new(),
            poems: Vec::new(),
        };
        for document in documents {
            let (collection, name) = document.id.split_once('/').unwrap_or(("", ""));
            let number = name.parse().unwrap_or(0);
            let first_line = document.text.lines().next().unwrap_or_default();
            match collection {
                "sotu" => out.addresses.extend(president(name)),
                "sanguo" => out.chapters.extend(first_line.split_once(' ').map(|(_, title)| (number, title))),
                "moby-dick" => out.whale.extend(first_line.split_once(". ").map(|(_, title)| (number, title))),
                "tang" => out.poems.extend(poem(&document.text)),
                _ => {}
            }
            match (collection, document.language) {
                ("tang", _) => {}
                (_, Language::En) => out.english.extend(pairs(&document.text, &['.', '!', '?'], 30..140)),
                (_, Language::Zh) => out.chinese.extend(pairs(&document.text, &['。', '！', '？'], 8..40)),
            }
        }
        out
    }
}

/// `1962_john_f_kennedy_d` → 1962, John F. Kennedy
fn president(name: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = name.split('_').collect();
    let (year, names) = parts.split_first()?;
    let names = names.split_last()?.1;
    let capital = |part: &&str| {
        let mut letters = part.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase()).into_iter();
        let word: String = first.chain(letters).collect();
        if word.len() == 1 { word + "." } else { word }
    };
    Some(((*year).to_owned(), names.iter().map(capital).collect::<Vec<_>>().join(" ")))
}

fn poem(text: &str) -> Option<Poem<'_>> {
    let mut lines = text.lines();
    let (title, author) = (lines.next()?, lines.next()?);
    let lines: Vec<&str> = lines.collect();
    let short = title.chars().count() <= 10 && lines.len() <= 4;
    short.then_some(Poem { title, author, lines })
}

/// Neighbouring sentences of fitting length, each with its end mark.
fn pairs<'a>(text: &'a str, ends: &[char], fit: std::ops::Range<usize>) -> Vec<(&'a str, &'a str)> {
    let sentences: Vec<&str> = text.split_inclusive(ends).map(str::trim).collect();
    let fits = |text: &str| fit.contains(&text.chars().count()) && !text.contains(['"', '“', '”', '\n', '[']);
    sentences.windows(2).filter(|pair| fits(pair[0]) && fits(pair[1])).map(|pair| (pair[0], pair[1])).collect()
}

fn conversation(materials: &Materials<'_>, english: bool, dice: &mut Dice) -> Vec<Message> {
    let mut messages = Vec::new();
    if dice.below(8) == 0 {
        let system = if english { "You are a helpful assistant." } else { "你是一个乐于助人的助手。" };
        messages.push(Message::new(Role::System, system));
    }
    let turns = 1 + dice.below(3);
    for i in 0..turns {
        let greet = i == 0 && dice.below(4) == 0;
        let (asked, answered) = match (english, greet) {
            (true, true) => greeting_en(dice),
            (false, true) => greeting_zh(dice),
            (true, false) => turn_en(materials, dice),
            (false, false) => turn_zh(materials, dice),
        };
        messages.push(Message::new(Role::User, asked));
        messages.push(Message::new(Role::Assistant, answered));
    }
    messages
}

fn say(asked: &str, answered: &str) -> Turn {
    (asked.to_owned(), answered.to_owned())
}

fn greeting_en(dice: &mut Dice) -> Turn {
    let asked = dice.word(&["Hello", "Hello!", "Hi", "Hi!", "Hi there", "Hey", "Good morning", "Good evening."]);
    say(asked, dice.word(&["Hello! How can I help you?", "Hello! What would you like to talk about?"]))
}

fn greeting_zh(dice: &mut Dice) -> Turn {
    let asked = dice.word(&["你好", "你好！", "您好", "早上好", "晚上好", "嗨", "在吗？"]);
    say(asked, dice.word(&["你好！有什么可以帮你？", "你好！你想聊些什么？"]))
}

fn turn_en(materials: &Materials<'_>, dice: &mut Dice) -> Turn {
    match dice.below(12) {
        0 => about_en(dice),
        1 => say(dice.word(&["Thanks.", "Thank you!", "Great, thanks"]), "You are welcome!"),
        2 => say(dice.word(&["Bye", "Goodbye!", "See you later."]), "Goodbye! Come back soon."),
        3 => {
            let (year, name) = dice.pick(&materials.addresses);
            (format!("Who was President in {year}?"), format!("In {year} the President was {name}."))
        }
        4 => {
            let (number, title) = dice.pick(&materials.whale);
            let title = title.trim_end_matches('.');
            (
                format!("What is chapter {number} of Moby Dick called?"),
                format!("Chapter {number} is called \"{title}\"."),
            )
        }
        5 => {
            let (a, b) = (dice.below(10), dice.below(10));
            (format!("What is {a} plus {b}?"), format!("{a} plus {b} is {}.", a + b))
        }
        6 => say(
            dice.word(&["Who wrote Moby Dick?", "Who is the author of Moby Dick?"]),
            "Moby Dick was written by Herman Melville.",
        ),
        7 | 8 => {
            let (sentence, _) = dice.pick(&materials.english);
            (format!("Repeat this: {sentence}"), (*sentence).to_owned())
        }
        _ => {
            let (sentence, next) = dice.pick(&materials.english);
            (format!("Go on: {sentence}"), (*next).to_owned())
        }
    }
}

fn turn_zh(materials: &Materials<'_>, dice: &mut Dice) -> Turn {
    match dice.below(12) {
        0 => about_zh(dice),
        1 => say(dice.word(&["谢谢", "谢谢你！", "多谢"]), "不客气！"),
        2 => say(dice.word(&["再见", "再见！", "拜拜"]), "再见！欢迎再来。"),
        3 => {
            let (number, title) = dice.pick(&materials.chapters);
            (format!("《三国演义》第{number}回叫什么？"), format!("第{number}回是“{title}”。"))
        }
        4 | 5 if !materials.poems.is_empty() => {
            let poem = dice.pick(&materials.poems);
            if dice.below(2) == 0 {
                (format!("《{}》是谁写的？", poem.title), format!("《{}》是{}写的。", poem.title, poem.author))
            } else {
                (format!("请背诵{}的《{}》。", poem.author, poem.title), poem.lines.join("\n"))
            }
        }
        6 => {
            let (a, b) = (dice.below(10), dice.below(10));
            (format!("{a}加{b}等于几？"), format!("{a}加{b}等于{}。", a + b))
        }
        7 => say(dice.word(&["《三国演义》是谁写的？", "谁写了《三国演义》？"]), "《三国演义》是罗贯中写的。"),
        8 => {
            let (sentence, _) = dice.pick(&materials.chinese);
            (format!("请重复：{sentence}"), (*sentence).to_owned())
        }
        _ => {
            let (sentence, next) = dice.pick(&materials.chinese);
            (format!("请接着写：{sentence}"), (*next).to_owned())
        }
    }
}

fn about_en(dice: &mut Dice) -> Turn {
    let name = "I am hearth-nano, a very small language model.";
    let texts =
        "I have read State of the Union addresses, Moby Dick, the Romance of the Three Kingdoms and Tang poems.";
    match dice.below(3) {
        0 => say(dice.word(&["Who are you?", "What are you?", "What is your name?"]), name),
        1 => say(dice.word(&["What have you read?", "What do you know?"]), texts),
        _ => say(
            dice.word(&["What can you do?", "How can you help me?"]),
            "I can go on with a sentence, repeat one, and talk a little in English and Chinese.",
        ),
    }
}

fn about_zh(dice: &mut Dice) -> Turn {
    match dice.below(3) {
        0 => {
            say(dice.word(&["你是谁？", "你叫什么名字？", "介绍一下你自己"]), "我是 hearth-nano，一个很小的语言模型。")
        }
        1 => say(dice.word(&["你读过什么？", "你知道些什么？"]), "我读过国情咨文、《白鲸》、《三国演义》和唐诗。"),
        _ => say(
            dice.word(&["你会做什么？", "你能帮我做什么？"]),
            "我可以接着写句子，重复句子，也能用中文和英文聊几句。",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Document> {
        let sentence = "It is a long sentence about nothing at all.";
        let chinese = "却说张飞拍马赶到关下，关上矢石如雨。";
        let document = |id: &str, language, text: String| Document { id: id.into(), language, text };
        vec![
            document("sotu/1962_john_f_kennedy_d", Language::En, sentence.repeat(4)),
            document("moby-dick/1", Language::En, format!("CHAPTER 1. Loomings.\n{}", sentence.repeat(3))),
            document("sanguo/1", Language::Zh, format!("第一回 宴桃园\n{}", chinese.repeat(4))),
            document("tang/1", Language::Zh, "春曉\n孟浩然\n春眠不覺曉，處處聞啼鳥。".into()),
        ]
    }

    #[test]
    fn every_conversation_can_be_trained_on() {
        let chats = make(&documents(), 400, 1);
        assert_eq!(chats, make(&documents(), 400, 1));
        for chat in &chats {
            let asked_first = chat.iter().find(|m| m.role != Role::System).map(|m| m.role);
            assert_eq!(asked_first, Some(Role::User));
            assert!(chat.last().is_some_and(Message::is_trained));
            assert!(hearth_shared::text::format::warnings(chat).is_empty());
            assert!(chat.iter().all(|m| !m.content.is_empty()));
        }
    }

    #[test]
    fn file_names_become_names() {
        assert_eq!(president("1962_john_f_kennedy_d"), Some(("1962".into(), "John F. Kennedy".into())));
    }
}
