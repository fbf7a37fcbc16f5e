//! The connection to NATS, and the stream that is the log.

use super::error::LogError;
use super::settings::{ClusterSettings, LogCredentials, LogTls};
use async_nats::ConnectOptions;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{Context, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use std::time::Duration;

/// Metadata of the stream: the epoch of the ids of all events in it.
const EPOCH: &str = "fanfare-epoch";
/// Time in which a message with the same id is not stored again. An append is repeated while it is
/// not acknowledged, so this bounds how long the log may be away.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(20 * 60);
/// Time after which a request counts as unanswered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of pings; a server that has not answered the last two is left.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum size of messages that a server must accept: room for a request of the default
/// `--max-body-bytes`.
const MIN_PAYLOAD_BYTES: usize = 8 * 1024 * 1024;

impl ClusterSettings {
    pub(super) fn subject(&self) -> String {
        format!("{}.log", self.name)
    }

    pub(super) fn config(&self, epoch: u32) -> Config {
        Config {
            name: self.name.clone(),
            subjects: vec![self.subject()],
            description: Some("log of a cluster of Fanfare hubs".to_owned()),
            storage: StorageType::File,
            num_replicas: self.replicas,
            max_age: self.log_max_age,
            max_bytes: i64::try_from(self.log_max_bytes).unwrap_or(i64::MAX),
            discard: DiscardPolicy::Old,
            deny_delete: true,
            deny_purge: true,
            duplicate_window: DUPLICATE_WINDOW.min(self.log_max_age),
            metadata: [(EPOCH.to_owned(), epoch.to_string())].into(),
            ..Config::default()
        }
    }
}

/// Connects to one of the servers.
pub(super) async fn connect(settings: &ClusterSettings) -> Result<Context, LogError> {
    let options = ConnectOptions::new()
        .name(format!("fanfare {}", settings.node))
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .request_timeout(Some(REQUEST_TIMEOUT));
    let options = with_tls(with_credentials(options, &settings.credentials)?, &settings.tls);
    let urls = settings.urls.join(", ");
    let client = options
        .connect(&settings.urls)
        .await
        .map_err(|source| LogError::Connect { urls, source })?;
    let found = client.server_info().max_payload;
    if found < MIN_PAYLOAD_BYTES {
        return Err(LogError::Payload { found, required: MIN_PAYLOAD_BYTES });
    }
    let context = async_nats::jetstream::ContextBuilder::new().timeout(REQUEST_TIMEOUT);
    Ok(context.build(client))
}

/// Adds the credentials. A file holds an nkey seed, or a JWT and its seed between lines of dashes.
fn with_credentials(
    options: ConnectOptions,
    credentials: &LogCredentials,
) -> Result<ConnectOptions, LogError> {
    Ok(match credentials {
        LogCredentials::None => options,
        LogCredentials::Token(token) => options.token(token.clone()),
        LogCredentials::User { name, password } => {
            options.user_and_password(name.clone(), password.clone())
        }
        LogCredentials::File(path) => {
            let failed = |source| LogError::Credentials { path: path.clone(), source };
            let text = std::fs::read_to_string(path).map_err(failed)?;
            match text.trim() {
                seed if seed.starts_with('S') => options.nkey(seed.to_owned()),
                // The last line must end, too.
                text => options.credentials(&format!("{text}\n")).map_err(failed)?,
            }
        }
    })
}

fn with_tls(mut options: ConnectOptions, tls: &LogTls) -> ConnectOptions {
    if let Some(authorities) = &tls.authorities {
        options = options.add_root_certificates(authorities.clone());
    }
    if let Some((certificate, key)) = &tls.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options
}

/// The stream of the log, as it was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenedStream {
    /// Epoch of the ids of all events.
    pub(super) epoch: u32,
    /// Number of the first message that is stored.
    pub(super) first: u64,
}

/// Opens the stream. Creates it with a new epoch if it does not exist and
/// this hub is no member of the cluster yet.
pub(super) async fn open_stream(
    context: &Context,
    settings: &ClusterSettings,
    is_member: bool,
) -> Result<OpenedStream, LogError> {
    let failed = |action, error: &dyn std::fmt::Display| LogError::Stream {
        action,
        stream: settings.name.clone(),
        reason: error.to_string(),
    };
    let mut stream = match context.get_stream(&settings.name).await {
        Ok(stream) => stream,
        Err(error) if !is_missing(&error) => return Err(failed("find", &error)),
        Err(_) if is_member => return Err(LogError::NoStream { stream: settings.name.clone() }),
        Err(_) => {
            // The upper half of the range is left for later epochs. Another hub may be faster.
            let epoch = rand::random::<u32>() >> 1;
            match context.create_stream(settings.config(epoch)).await {
                Ok(stream) => stream,
                Err(created) => match context.get_stream(&settings.name).await {
                    Ok(stream) => stream,
                    Err(_) if created.to_string().contains("insufficient storage") => {
                        let bytes = settings.log_max_bytes;
                        let hint =
                            format!("{created}; --cluster-log-max-bytes reserves {bytes} bytes");
                        return Err(failed("create", &hint));
                    }
                    Err(_) => return Err(failed("create", &created)),
                },
            }
        }
    };
    let info = stream.info().await.map_err(|error| failed("read", &error))?;
    check(settings, &info.config)?;
    let epoch = epoch_of(&info.config);
    let epoch = epoch.ok_or_else(|| unfit(settings, "metadata without", EPOCH, "a number"))?;
    Ok(OpenedStream { epoch, first: info.state.first_sequence })
}

pub(super) fn epoch_of(config: &Config) -> Option<u32> {
    config.metadata.get(EPOCH)?.parse().ok()
}

pub(super) fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Fails if a stream is not the one with this epoch, or could lose messages now.
pub(super) fn check_same(
    settings: &ClusterSettings,
    found: &Config,
    epoch: u32,
) -> Result<(), LogError> {
    if epoch_of(found) != Some(epoch) {
        return Err(LogError::Recreated { stream: settings.name.clone() });
    }
    check(settings, found)
}

/// Returns an error if the stream could lose or change what it has acknowledged.
fn check(settings: &ClusterSettings, found: &Config) -> Result<(), LogError> {
    if found.storage != StorageType::File {
        return Err(unfit(settings, "storage", "memory", "file"));
    }
    if found.num_replicas != settings.replicas {
        let required = format!("{} (--cluster-replicas)", settings.replicas);
        return Err(unfit(settings, "replicas", &found.num_replicas.to_string(), &required));
    }
    for (setting, is_set) in [("deny_delete", found.deny_delete), ("deny_purge", found.deny_purge)]
    {
        if !is_set {
            return Err(unfit(settings, setting, "false", "true"));
        }
    }
    let subjects = found.subjects.join(", ");
    if subjects != settings.subject() {
        return Err(unfit(settings, "subjects", &subjects, &settings.subject()));
    }
    Ok(())
}

fn unfit(
    settings: &ClusterSettings,
    setting: &'static str,
    found: &str,
    required: &str,
) -> LogError {
    let (stream, found, required) = (settings.name.clone(), found.to_owned(), required.to_owned());
    LogError::Unfit { stream, setting, found, required }
}
