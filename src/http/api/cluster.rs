//! `GET /cluster`: the log of the cluster and its hubs, as this hub sees them.

use crate::cluster::{HubReport, KnownHub, LogState, Peers};
use crate::event::Timestamp;
use crate::http::api::readiness;
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_admin;
use crate::http::openapi::errors::ClusterErrors;
use crate::http::openapi::examples;
use crate::http::resource::Routes;
use crate::http::state::AppState;
use crate::hub::GetSharedCounts;
use crate::journal::now;
use actix_web::http::header;
use actix_web::web::{self, Data};
use actix_web::{HttpRequest, HttpResponse, Route};
use serde::Serialize;
use utoipa::ToSchema;

/// Paths of a cluster.
pub(crate) const ROUTES: Routes = &[("/cluster", &["GET"])];

/// Returns the handler of a path of a cluster.
pub(crate) fn handler(path: &str, method: &str) -> Option<Route> {
    match (method, path) {
        ("GET", "/cluster") => Some(web::get().to(get)),
        _ => None,
    }
}

/// A cluster.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cluster {
    /// Name of the cluster.
    name: String,
    /// Name of the hub that answers.
    hub: String,
    log: Log,
    /// The hubs, sorted by name.
    hubs: Vec<Hub>,
}

/// The log of a cluster.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterLog)]
struct Log {
    /// Number of the last message.
    end: u64,
    /// NATS server that leads the log.
    leader: Option<String>,
    /// NATS servers that store the log and are not up to date.
    stale_servers: Vec<String>,
    /// Seconds since the log last answered, if they are 10 or more.
    unreachable_s: Option<u64>,
    /// Reason why the log cannot be read or written.
    problem: Option<String>,
}

/// A hub of a cluster.
#[derive(Serialize, ToSchema)]
#[schema(as = ClusterHub)]
struct Hub {
    name: String,
    version: String,
    /// Time at which the hub started.
    since: String,
    /// Number of the last message of the log that the hub has applied.
    applied: u64,
    /// Number of messages of the log that the hub has not applied.
    lag: u64,
    /// Number of open sessions.
    sessions: u64,
    /// `ready`, `not_ready`, `silent` without a report for 5 s, or `differs` if it has applied another log than
    /// the hub that answers.
    state: &'static str,
    /// Seconds since the last report, if the hub is silent.
    silent_s: Option<u64>,
    /// Reason why the hub is not ready.
    problem: Option<String>,
}

impl Hub {
    fn new(known: KnownHub, end: u64) -> Self {
        let KnownHub { report, silent_for, differs_at } = known;
        let differs = differs_at.map(|number| {
            format!("has applied another log up to message {number} than the hub that answers")
        });
        let state = match (silent_for, &differs, &report.problem) {
            (Some(_), ..) => "silent",
            (None, Some(_), _) => "differs",
            (None, None, Some(_)) => "not_ready",
            (None, None, None) => "ready",
        };
        Self {
            name: report.node,
            version: report.version,
            since: Timestamp::from_ms(report.started_ms).to_string(),
            applied: report.applied,
            lag: end.saturating_sub(report.applied),
            sessions: report.sessions,
            state,
            silent_s: silent_for.map(|time| time.as_secs()),
            problem: differs.or(report.problem),
        }
    }
}

/// `GET /cluster`
#[utoipa::path(get, path = "/cluster", tag = "operators",
    summary = "Get the state of the cluster",
    description = "Returns the log of the cluster and its hubs, as the hub that answers sees them. Hubs \
        report once a second. Requires the grant `admin`. A hub without a cluster answers 404.",
    params(
        ("hub" = Option<String>, Query, description = "Name of the hub that answers"),
    ),
    responses(
        (status = 200, description = "The cluster", body = Cluster, example = examples::cluster),
        ClusterErrors,
    )
)]
pub(crate) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    require_admin(&state, &request)?;
    let (Some(peers), Some(log)) = (&state.peers, state.history.log()) else {
        return Err(Problem::new(Code::NotFound, "this hub belongs to no cluster"));
    };
    let view = view(peers, log, own_report(&state, peers).await);
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(view))
}

fn view(peers: &Peers, log: LogState, own: HubReport) -> Cluster {
    let own = KnownHub { report: own, silent_for: None, differs_at: None };
    let mut known = peers.hubs();
    known.push(own);
    known.sort_by(|a, b| a.report.node.cmp(&b.report.node));
    // Another hub may know of later messages than this one.
    let applied = known.iter().map(|hub| hub.report.applied).max().unwrap_or_default();
    let end = log.end.max(applied);
    Cluster {
        name: peers.cluster().to_owned(),
        hub: peers.node().to_owned(),
        hubs: known.into_iter().map(|hub| Hub::new(hub, end)).collect(),
        log: Log {
            end,
            unreachable_s: log.unreachable_for().map(|time| time.as_secs()),
            leader: log.leader,
            stale_servers: log.stale_servers,
            problem: log.problem,
        },
    }
}

/// Returns the report of this hub about itself.
pub async fn own_report(state: &AppState, peers: &Peers) -> HubReport {
    let used = readiness::usage(state).await;
    let log = state.history.log_status();
    let log_state = log.map(|log| log.state());
    let differs = log_state.as_ref().is_some_and(|log| log.differs.is_some());
    HubReport {
        node: peers.node().to_owned(),
        boot: peers.boot(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: now().ms().saturating_sub(state.started_at.elapsed().as_millis() as u64),
        applied: log_state.as_ref().map_or(0, |log| log.applied.sequence),
        checkpoints: log.map_or(Vec::new(), |log| log.checkpoints_to_report()),
        sessions: state.telemetry.totals().sessions,
        epoch: state.history.epoch().0,
        counts: state.ask(GetSharedCounts { others: peers.count() }).await.unwrap_or_default(),
        problem: readiness::ready(state, &used).first_reason(),
        has_log: !differs && state.health.poisoned().is_none(),
        is_outvoted: log_state.is_some_and(|log| log.is_outvoted),
        is_leaving: false,
    }
}
