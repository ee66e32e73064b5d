//! A turn of a conversation, as OpenAI's API and chat data sets write it.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Who speaks.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that hold for the whole conversation; OpenAI's newer name `developer` means the same.
    #[serde(alias = "developer")]
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    /// The word chat templates know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn. `weight` is OpenAI's fine-tuning weight: 0 keeps an assistant turn as context without training on it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    pub role: Role,
    /// A string, or OpenAI's list of `{"type": "text", "text"}` parts, which are joined.
    #[serde(deserialize_with = "text_or_parts")]
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), name: None, weight: None }
    }

    /// Whether the loss counts this turn: assistant turns whose weight is not 0.
    pub fn is_trained(&self) -> bool {
        self.role == Role::Assistant && self.weight != Some(0.0)
    }
}

fn text_or_parts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    struct Part {
        r#type: String,
        text: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a text, or a list of parts like {\"type\": \"text\", \"text\": \"…\"}")]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    match Content::deserialize(deserializer)? {
        Content::Text(text) => Ok(text),
        Content::Parts(parts) => parts
            .into_iter()
            .map(|part| match (part.r#type.as_str(), part.text) {
                ("text", Some(text)) => Ok(text),
                (other, _) => Err(D::Error::custom(format!("content part of type `{other}` is not text"))),
            })
            .collect(),
    }
}
