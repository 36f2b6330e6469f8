//! One script call and its answer.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, ToRedisArgs, Value};
use serde::de::DeserializeOwned;

use super::super::StoreError;
use super::millis;

/// How long a replica may take to have what was written. Less than an answer may take, so that we
/// hear of it.
const REPLICA_TIME_MAX: Duration = Duration::from_millis(400);

/// A Lua script with its hash.
pub(super) struct Script {
    text: &'static str,
    sha: String,
}

impl Script {
    pub(super) fn new(text: &'static str) -> Self {
        Self { text, sha: redis::Script::new(text).get_hash().to_owned() }
    }

    /// By its hash; a server that does not know it yet is told the text. What is to be kept must be
    /// on so many replicas as well.
    pub(super) async fn run(
        &self,
        link: &mut impl ConnectionLike,
        key: &str,
        call: &Call,
        replicas_min: u32,
    ) -> Result<Reply, StoreError> {
        let ask = async |link: &mut _, name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(key).arg(&call.args);
            if call.is_kept && replicas_min > 0 {
                kept(link, command, replicas_min).await
            } else {
                Ok((command.query_async(link).await?, true))
            }
        };
        let answer = ask(link, "EVALSHA", &self.sha).await;
        let answer: RedisResult<(Vec<Vec<u8>>, bool)> = match answer {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                ask(link, "EVAL", self.text).await
            }
            answer => answer,
        };
        let (answer, is_kept) = answer.map_err(failed)?;
        let reply = Reply::from(answer)?.trusted()?;
        if is_kept { Ok(reply) } else { Err(StoreError::Unreplicated) }
    }
}

/// Runs a command and says whether so many replicas have what this connection has written.
///
/// Both go in one piece: after a reconnect, another server would speak for its own replicas.
async fn kept(
    link: &mut impl ConnectionLike,
    command: Cmd,
    replicas_min: u32,
) -> RedisResult<(Vec<Vec<u8>>, bool)> {
    let mut both = redis::pipe();
    both.ignore_errors().add_command(command);
    both.cmd("WAIT").arg(replicas_min).arg(millis(REPLICA_TIME_MAX));
    let mut answers = both.query_async::<Vec<RedisResult<Value>>>(link).await?.into_iter();
    let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
    let answer = redis::from_redis_value(next()?)?;
    // A server that is a replica itself refuses to say, and what it answered tells why.
    let replicas = next().ok().and_then(|count| redis::from_redis_value::<u32>(count).ok());
    Ok((answer, replicas.is_some_and(|replicas| replicas >= replicas_min)))
}

/// The name of an operation and its arguments.
pub(super) struct Call {
    args: Vec<Vec<u8>>,
    is_kept: bool,
}

impl Call {
    pub(super) fn new(operation: &str) -> Self {
        Self { args: vec![operation.as_bytes().to_vec()], is_kept: false }
    }

    /// One that somebody outside relies on: it counts when replicas have it, where there are any.
    pub(super) fn kept(operation: &str) -> Self {
        Self { is_kept: true, ..Self::new(operation) }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
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

    /// Refuses the answer of a server that may have lost writes, or that follows another one.
    fn trusted(self) -> Result<Self, StoreError> {
        match self.word.as_str() {
            "unsafe" => Err(StoreError::Distrusted),
            "replica" => Err(StoreError::Demoted),
            _ => Ok(self),
        }
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
    match error.code() {
        _ if is_open => StoreError::Unanswered,
        Some("READONLY") => StoreError::Demoted,
        Some("NOREPLICAS") => StoreError::Unreplicated,
        Some(_) | None => StoreError::Failed(Arc::new(error)),
    }
}

/// The store holds what no script of ours has written.
pub(super) fn failed_text(found: &str) -> StoreError {
    let error: Box<dyn std::error::Error + Send + Sync> = format!("Redis holds {found}").into();
    StoreError::Failed(Arc::from(error))
}
