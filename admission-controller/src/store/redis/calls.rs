//! One script call and its answer.

use std::sync::Arc;

use redis::aio::ConnectionLike;
use redis::{ErrorKind, RedisError, ServerErrorKind, ToRedisArgs};
use serde::de::DeserializeOwned;

use super::super::StoreError;

/// A Lua script with its hash.
pub(super) struct Script {
    text: &'static str,
    sha: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, sha: redis::Script::new(text).get_hash().to_owned() }
    }

    /// By its hash; a server that does not know it yet is told the text.
    pub(super) async fn run(
        &self,
        link: &mut impl ConnectionLike,
        key: &str,
        call: &Call,
    ) -> Result<Reply, StoreError> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(key).arg(&call.args);
            command
        };
        let answer = command("EVALSHA", &self.sha).query_async(link).await;
        let answer: Result<Vec<Vec<u8>>, RedisError> = match answer {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", self.text).query_async(link).await
            }
            answer => answer,
        };
        Reply::from(answer.map_err(failed)?)
    }
}

/// The name of an operation and its arguments.
pub(super) struct Call {
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(operation: &str) -> Self {
        Self { args: vec![operation.as_bytes().to_vec()] }
    }

    pub(super) fn arg(mut self, value: impl ToRedisArgs) -> Self {
        self.args.extend(value.to_redis_args());
        self
    }
}

/// What a script answered: a word, and what belongs to it.
pub(super) struct Reply {
    word: String,
    rest: std::vec::IntoIter<Vec<u8>>,
}

impl Reply {
    fn from(answer: Vec<Vec<u8>>) -> Result<Self, StoreError> {
        let mut rest = answer.into_iter();
        let word = rest.next().ok_or_else(|| failed_text("an answer without a word"))?;
        Ok(Self { word: text(word)?, rest })
    }

    /// Refuses the answer of a server that may have lost writes.
    pub(super) fn trusted(self) -> Result<Self, StoreError> {
        if self.word == "unsafe" { Err(StoreError::Distrusted) } else { Ok(self) }
    }

    pub(super) fn word(&self) -> &str {
        &self.word
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.word == word
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.rest.next().ok_or_else(|| failed_text("an answer that is too short"))
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        text(self.bytes()?)
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        number(&self.text()?)
    }

    /// What is left, as texts.
    pub(super) fn texts(self) -> Result<Vec<String>, StoreError> {
        self.rest.map(text).collect()
    }
}

pub(super) fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|error| StoreError::Failed(Arc::new(error)))
}

pub(super) fn number(text: &str) -> Result<u64, StoreError> {
    text.parse().map_err(|_| failed_text("something else than a number"))
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(Arc::new(error)))
}

pub(super) fn parse<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|source| StoreError::Unreadable { what, source: Arc::new(source) })
}

/// A failure of the connection leaves open what became of the operation.
pub(super) fn failed(error: RedisError) -> StoreError {
    let is_open = error.is_timeout() || error.is_io_error() || error.is_connection_dropped();
    if is_open { StoreError::Unanswered } else { StoreError::Failed(Arc::new(error)) }
}

/// The store holds what no script of ours has written.
pub(super) fn failed_text(found: &str) -> StoreError {
    let error: Box<dyn std::error::Error + Send + Sync> = format!("Redis holds {found}").into();
    StoreError::Failed(Arc::from(error))
}
