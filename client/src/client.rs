//! The client: a transport, a policy and a clock.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use stator_model::api::Operation;
use stator_model::error::{Applied, ErrorKind};
use stator_model::schema::TableStatus;
use stator_model::{Answer, Request};
use stator_proto::operation::Effect;
use tokio::time::{Instant, sleep, timeout_at};

use crate::entropy::Entropy;
use crate::error::{Error, Result, is_late};
use crate::retry::{Decision, RetryPolicy};
use crate::transport::{CallOptions, Transport};

#[cfg(test)]
pub(crate) mod tests;

/// How long a call may take, with all of its attempts, unless it says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// What a transport gets beyond the deadline to tell of it itself, for it knows more.
const GRACE: Duration = Duration::from_millis(100);

/// As good as for ever: no call takes longer, whatever it is given, for the clock does not reach everywhere.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The moment after so much time.
fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FAR)
}

/// The client of a Stator database. Cloning it is cheap, and all clones share connections and routes.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stator_client::{Client, KeyType};
///
/// let client = Client::connect("http://127.0.0.1:7400")?;
/// # // Here it is a database in this process.
/// # let client = stator::in_memory().await?.client();
/// client
///     .create_table()
///     .table_name("music")
///     .partition_key("artist", KeyType::S)
///     .sort_key("song", KeyType::S)
///     .send()
///     .await?;
/// client.wait_until_active("music").await?;
///
/// client
///     .put_item()
///     .table_name("music")
///     .item("artist", "No One You Know")
///     .item("song", "Call Me Today")
///     .item("year", 2015)
///     .condition_expression("attribute_not_exists(artist)")
///     .send()
///     .await?;
///
/// let got = client
///     .get_item()
///     .table_name("music")
///     .key("artist", "No One You Know")
///     .key("song", "Call Me Today")
///     .send()
///     .await?;
/// assert_eq!(got.item.unwrap_or_default()["year"], 2015.into());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Box<dyn Transport>,
    retry: RetryPolicy,
    timeout: Duration,
    entropy: Entropy,
}

/// What one call may set apart from the client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallSettings {
    pub(crate) timeout: Option<Duration>,
    pub(crate) resend_uncertain: Option<bool>,
}

impl Client {
    /// A client that speaks through this transport, with the default settings.
    #[must_use]
    pub fn new(transport: impl Transport) -> Self {
        Self::builder(transport).build()
    }

    /// A client that speaks through this transport, with settings of its own.
    pub fn builder(transport: impl Transport) -> ClientBuilder {
        ClientBuilder {
            transport: Box::new(transport),
            retry: RetryPolicy::default(),
            timeout: TIMEOUT_DEFAULT,
        }
    }

    /// Sends a typed request, again if need be, and waits for its answer. The fluent requests end here; so may callers who
    /// have a typed request of [`api`](crate::api) in hand, or want items as the bytes that they travel as.
    ///
    /// A typed request is taken at its word: `consistent_read` of a `GetItem`, `Query`, `Scan` or `KeysAndAttributes` is false by
    /// default, as DynamoDB has it, while the fluent requests say true unless told otherwise.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::KeyType;
    /// use stator_client::api::ListTables;
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # let music = client.create_table().table_name("music");
    /// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
    /// # client.wait_until_active("music").await?;
    /// let page = client.execute(ListTables::default()).await?;
    /// assert_eq!(page.table_names, ["music"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database answers, or that it could not be reached.
    pub async fn execute<O: Operation>(&self, request: O) -> Result<O::Answer> {
        self.call(request, CallSettings::default()).await
    }

    /// Waits until a table takes requests, for up to a minute.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::{KeyType, TableStatus};
    ///
    /// # let client = stator::in_memory().await?.client();
    /// client.create_table().table_name("music").partition_key("artist", KeyType::S).send().await?;
    /// client.wait_until_active("music").await?;
    /// let table = client.describe_table().table_name("music").send().await?.table;
    /// assert_eq!(table.status, TableStatus::Active);
    ///
    /// let unknown = client.wait_until_active("musik").await.expect_err("nobody made it");
    /// assert!(unknown.is_resource_not_found());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `ResourceNotFoundException` if there is no such table, `DeadlineExceededException` if it takes longer.
    pub async fn wait_until_active(&self, table_name: impl Into<String>) -> Result<()> {
        let table_name = table_name.into();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut pause = Duration::from_millis(5);
        loop {
            let told = self.describe_table().table_name(table_name.clone()).send().await?;
            if matches!(told.table.status, TableStatus::Active | TableStatus::Updating) {
                return Ok(());
            }
            if Instant::now() + pause > deadline {
                let status = told.table.status.name();
                let text = format!("The table {table_name} is still {status}");
                return Err(stator_model::Error::new(ErrorKind::DeadlineExceeded, text).into());
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    pub(crate) async fn call<O: Operation>(
        &self,
        request: O,
        settings: CallSettings,
    ) -> Result<O::Answer> {
        let answer = self.attempts(request.into(), settings).await?;
        O::answer(answer).ok_or_else(|| {
            let error = stator_model::Error::internal("The answer is another operation's");
            error.with_applied(Applied::Unknown).into()
        })
    }

    /// A pause before the remainder of a batch is sent again, after `attempt` attempts; `None` when it is enough.
    pub(crate) fn batch_pause(&self, attempt: u32) -> Option<Duration> {
        let error = stator_model::Error::new(ErrorKind::Throttling, "unprocessed");
        let jitter = self.shared.entropy.fraction();
        match self.shared.retry.decide(&error, Effect::Write, attempt, Duration::MAX, jitter) {
            Decision::Wait(pause) => Some(pause),
            Decision::Stop => None,
        }
    }

    async fn attempts(&self, request: Request, settings: CallSettings) -> Result<Answer> {
        let shared = &*self.shared;
        let effect = Effect::of(&request);
        let mut policy = shared.retry.clone();
        if let Some(resend) = settings.resend_uncertain {
            policy.resend_uncertain_writes = resend;
        }
        let deadline = after(settings.timeout.unwrap_or(shared.timeout));
        let request_id = shared.entropy.request_id();
        let mut uncertain_before = None;
        let mut last: Option<stator_model::Error> = None;
        let mut attempt = 1;
        loop {
            // A pause may have been longer than it was meant to be. What the attempt before it met says more than that the
            // time is over.
            if Instant::now() >= deadline
                && let Some(error) = last
            {
                return Err(Error::of_request(verdict(error, uncertain_before), request_id));
            }
            let mut until = deadline;
            if effect == Effect::Read {
                until = until.min(after(policy.read_attempt_timeout));
            }
            let options =
                CallOptions { deadline: until.into_std(), request_id: Arc::clone(&request_id) };
            let answering = shared.transport.call(request.clone(), options);
            let error = match in_time(answering, until + GRACE, effect).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let remaining = deadline.saturating_duration_since(Instant::now());
            let jitter = shared.entropy.fraction();
            match policy.decide(&error, effect, attempt, remaining, jitter) {
                Decision::Wait(pause) => sleep(pause).await,
                Decision::Stop => {
                    // That the time was over before any node was reached says less than what the attempt before it met.
                    let error = last.filter(|_| is_late(&error)).unwrap_or(error);
                    let error = verdict(error, uncertain_before);
                    return Err(Error::of_request(error, request_id));
                }
            }
            if effect == Effect::Write && error.applied() == Applied::Unknown {
                uncertain_before.get_or_insert(error.clone());
            }
            last = Some(error);
            attempt += 1;
        }
    }
}

/// Waits for an answer, and not for ever.
async fn in_time(
    answering: impl Future<Output = stator_model::Result<Answer>>,
    until: Instant,
    effect: Effect,
) -> stator_model::Result<Answer> {
    let text = "The deadline passed without an answer";
    match timeout_at(until, answering).await {
        Ok(result) => result,
        Err(_) if effect == Effect::Read => {
            Err(stator_model::Error::new(ErrorKind::DeadlineExceeded, text))
        }
        Err(_) => Err(stator_model::Error::uncertain(text)),
    }
}

/// What to tell of the last error, when an attempt before it was uncertain: that one may be why this one failed, as
/// when a condition fails on what it wrote.
fn verdict(
    error: stator_model::Error,
    uncertain_before: Option<stator_model::Error>,
) -> stator_model::Error {
    match uncertain_before {
        Some(before) if error.applied() == Applied::No => stator_model::Error::uncertain(format!(
            "{} (sent again, the request failed: {error})",
            before.message()
        )),
        _ => error,
    }
}

/// Makes a [`Client`].
#[must_use]
pub struct ClientBuilder {
    transport: Box<dyn Transport>,
    retry: RetryPolicy,
    timeout: Duration,
}

impl ClientBuilder {
    /// When to send a request again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How long a call may take, with all of its attempts: 5 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The client.
    #[must_use]
    pub fn build(self) -> Client {
        let Self { transport, retry, timeout } = self;
        Client { shared: Arc::new(Shared { transport, retry, timeout, entropy: Entropy::new() }) }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { retry, timeout, .. } = &*self.shared;
        f.debug_struct("Client")
            .field("retry", retry)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").finish_non_exhaustive()
    }
}
