//! What a machine answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It was done; what there is to say.
    Ok(Value),
    /// It was not, and why: one sentence.
    Error(String),
}

impl From<Result<Value, String>> for Answer {
    fn from(result: Result<Value, String>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(why) => Self::Error(why),
        }
    }
}

impl From<Answer> for Result<Value, String> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Ok(value) => Ok(value),
            Answer::Error(why) => Err(why),
        }
    }
}
