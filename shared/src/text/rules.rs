//! Every rule a data set can break: its id, how bad that is, and what to tell people in English and Chinese.

use serde::{Deserialize, Serialize};

/// Whether a row that breaks the rule keeps the data set from being used.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// A language of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    En,
    Zh,
}

/// What a rule says in one language: what is wrong, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleText {
    pub message: &'static str,
    pub fix: &'static str,
}

macro_rules! rules {
    ($($name:ident $id:literal $severity:ident
       $en:literal => $en_fix:literal; $zh:literal => $zh_fix:literal)+) => {
        /// A rule. Its wire form is the id.
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[serde(rename = $id)] $name,)+
        }

        impl Rule {
            /// All rules, in the order of their declaration.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)+];

            pub fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)+ }
            }

            pub fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
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

rules! {
    FileEmpty "file.empty" Error
        "The file holds no row." => "Upload a file with at least one example.";
        "文件中没有任何数据行。" => "请上传至少含一个样本的文件。"
    FileBinary "file.binary" Error
        "The file is not text." => "Upload JSONL, JSON or plain text, saved as UTF-8; unpack an archive, and export a table or a document as text, first.";
        "文件不是文本。" => "请上传以 UTF-8 保存的 JSONL、JSON 或纯文本；压缩包请先解压，表格和文档请先导出为文本。"
    FileUnclosedArray "file.unclosed_array" Error
        "The JSON array has no end, or something follows its end." => "Check that the file is whole: it must end with one `]`.";
        "JSON 数组没有正确结束，或结束后还有内容。" => "请检查文件是否完整：它必须以一个 `]` 结尾。"
    FileFewExamples "file.few_examples" Warning
        "There are fewer than 10 examples." => "Add examples: 50 to 100 good ones are a usual start.";
        "样本少于 10 个。" => "请增加样本：通常从 50 到 100 个高质量样本开始。"
    RowEncoding "row.encoding" Error
        "The row is not UTF-8." => "Save the file as UTF-8.";
        "此行不是 UTF-8 编码。" => "请将文件另存为 UTF-8 编码。"
    RowSyntax "row.syntax" Error
        "The row is not valid JSON." => "Check quotes, commas and brackets; in JSONL a row is one line.";
        "此行不是合法的 JSON。" => "请检查引号、逗号和括号；JSONL 中每行是一个完整对象。"
    RowNotObject "row.not_object" Error
        "The row is not a JSON object." => "Write each example as an object: {\"messages\": [...]}.";
        "此行不是 JSON 对象。" => "请将每个样本写成对象：{\"messages\": [...]}。"
    RowMixedFormat "row.mixed_format" Error
        "The row is of another format than the rows before it." => "Use one format in a file.";
        "此行的格式与前面的行不同。" => "同一文件请只使用一种格式。"
    FieldMissing "field.missing" Error
        "A field that the format needs is missing." => "Add the field.";
        "缺少该格式必需的字段。" => "请补上该字段。"
    FieldType "field.type" Error
        "The field has a value of the wrong type." => "Give it the type the format asks for.";
        "字段值的类型不正确。" => "请改为该格式要求的类型。"
    FieldUnsupported "field.unsupported" Error
        "Hearth can't train on this field yet." => "Remove the field, or write its content as text.";
        "Hearth 暂不支持用该字段训练。" => "请删除该字段，或将其内容写成文本。"
    RoleUnknown "role.unknown" Error
        "The role is not one of system, user, assistant, tool." => "Use one of these roles.";
        "角色不是 system、user、assistant、tool 之一。" => "请使用这些角色之一。"
    ContentEmpty "content.empty" Error
        "A trained assistant message is empty." => "Write the answer, or give the message weight 0.";
        "需要训练的助手消息为空。" => "请填写回答，或将该消息的 weight 设为 0。"
    WeightValue "weight.value" Error
        "A weight is neither 0 nor 1." => "Use 0 (context only) or 1 (trained).";
        "weight 既不是 0 也不是 1。" => "请使用 0（仅作上下文）或 1（参与训练）。"
    WeightRole "weight.role" Error
        "Only assistant messages can have a weight." => "Remove the weight.";
        "只有助手消息可以带 weight。" => "请删除该 weight。"
    MessagesEmpty "messages.empty" Error
        "The conversation has no message." => "Add at least a user and an assistant message.";
        "对话中没有消息。" => "请至少加入一条用户消息和一条助手消息。"
    NothingTrained "messages.nothing_trained" Error
        "No assistant message is trained, so there is nothing to learn." => "Add an assistant message with weight 1.";
        "没有参与训练的助手消息，模型学不到任何东西。" => "请加入一条 weight 为 1 的助手消息。"
    LastNotAssistant "messages.last_not_assistant" Error
        "The last message is not the assistant's." => "End every example with the answer to learn.";
        "最后一条消息不是助手消息。" => "每个样本都应以要学习的回答结尾。"
    AnswersEqual "preference.equal" Error
        "Both answers are the same." => "Give a better and a worse answer, or remove the row.";
        "两个回答完全相同。" => "请给出一个较好的和一个较差的回答，或删除此行。"
    SystemNotFirst "messages.system_not_first" Warning
        "A system message stands after other messages." => "Move it to the front, unless the model is used that way.";
        "系统消息出现在其他消息之后。" => "请移到最前面，除非模型就是这样使用的。"
    SameRoleTwice "messages.same_role_twice" Warning
        "Two messages in a row have the same role." => "Join them, unless the model is used that way.";
        "连续两条消息角色相同。" => "请合并它们，除非模型就是这样使用的。"
    TemplateFailed "template.failed" Error
        "The model's chat template refuses the conversation." => "See the detail; most templates want user and assistant in turns.";
        "模型的对话模板拒绝了这段对话。" => "请看详细信息；多数模板要求用户与助手轮流发言。"
    TooLong "tokens.too_long" Error
        "The example is longer than the context." => "Shorten or split it, or raise the maximum length.";
        "样本长度超过上下文长度。" => "请缩短或拆分样本，或提高最大长度。"
    Duplicate "row.duplicate" Warning
        "The example is the same as an earlier one." => "Remove it, unless it should count twice.";
        "该样本与前面的样本完全相同。" => "请删除它，除非确实要重复计入。"
    NearDuplicate "row.near_duplicate" Warning
        "The example is nearly the same as an earlier one." => "Keep the better of the two, unless the small difference is what should be learned.";
        "该样本与前面的某个样本几乎相同。" => "请保留较好的一个，除非要学的正是其中的细微差别。"
    PersonalData "row.personal_data" Warning
        "The example holds personal data or keys, which a model may learn by heart." => "Replace them with made-up ones or placeholders such as [email], unless they are public.";
        "该样本含有个人信息或密钥，模型可能会记住它们。" => "请换成虚构内容或 [email] 之类的占位符，除非它们本就是公开的。"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_speaks_both_languages_and_has_its_own_id() {
        let mut ids: Vec<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        for rule in Rule::ALL {
            let (en, zh) = (rule.text(Lang::En), rule.text(Lang::Zh));
            assert!(en.message.is_ascii() && en.fix.is_ascii(), "{rule:?}");
            assert!(!zh.message.is_ascii() && !zh.fix.is_ascii(), "{rule:?}");
            assert_eq!(serde_json::to_value(rule).ok(), Some(rule.id().into()));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Rule::ALL.len());
    }
}
