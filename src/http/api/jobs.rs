//! `GET /jobs`, `POST /jobs/{name}/runs` and `DELETE /jobs/{name}/runs/{run}`: configured commands,
//! run by callers with the grant.

use crate::access::Caller;
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_caller;
use crate::http::history::read_history;
use crate::http::openapi::errors::{CallerErrors, StartRunErrors, StopRunErrors};
use crate::http::openapi::examples;
use crate::http::resource::Routes;
use crate::http::state::AppState;
use crate::source::{JobView, StartRunError, StartedRun};
use actix_web::http::header;
use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse, Route};
use serde::Serialize;
use utoipa::ToSchema;

/// Paths of jobs.
pub(crate) const ROUTES: Routes = &[
    ("/jobs", &["GET"]),
    ("/jobs/{name}/runs", &["POST"]),
    ("/jobs/{name}/runs/{run}", &["DELETE"]),
];

/// Returns the handler of a path of jobs.
pub(crate) fn handler(path: &str, method: &str) -> Option<Route> {
    Some(match (method, path) {
        ("GET", "/jobs") => web::get().to(list),
        ("POST", "/jobs/{name}/runs") => web::post().to(begin),
        ("DELETE", "/jobs/{name}/runs/{run}") => web::delete().to(stop),
        _ => return None,
    })
}

/// The configured jobs.
#[derive(Serialize, ToSchema)]
#[schema(as = JobList)]
pub(crate) struct List {
    jobs: Vec<JobView>,
}

/// A run that was started.
#[derive(Serialize, ToSchema)]
#[schema(as = BegunRun)]
pub(crate) struct BegunShape {
    /// Name of the run, with which it can be stopped.
    run: String,
    /// Stream of the run: `start`, `log` events, `exit`, then the end.
    stream: String,
    /// URL of the stream's events, from the start.
    events_url: String,
}

impl From<&StartedRun> for BegunShape {
    fn from(started: &StartedRun) -> Self {
        let stream = started.stream.to_string();
        let events_url = format!("/streams/{stream}/events?from=start");
        Self { run: started.run.clone(), stream, events_url }
    }
}

impl From<StartRunError> for Problem {
    fn from(why: StartRunError) -> Self {
        let detail = why.to_string();
        match why {
            StartRunError::Unknown(_) => Self::new(Code::NotFound, detail),
            StartRunError::AtMost(_) => Self::new(Code::TooMany, detail).retry_after(5),
            StartRunError::Refused(refused) => refused.into(),
        }
    }
}

/// `GET /jobs`
#[utoipa::path(get, path = "/jobs", tag = "jobs",
    summary = "List jobs",
    description = "Lists the jobs that the caller may run, with their running runs. Returns only \
        jobs that the grant `run` covers.",
    responses(
        (status = 200, description = "The jobs", body = List, example = examples::jobs),
        CallerErrors,
    )
)]
pub(crate) async fn list(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(&state, &request)?;
    let jobs = state.jobs.views(|name| caller.grants.may_run(name));
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(List { jobs }))
}

/// `POST /jobs/{name}/runs`: the output is a stream, which late subscribers get from the first
/// line.
#[utoipa::path(post, path = "/jobs/{name}/runs", tag = "jobs",
    summary = "Start a run",
    description = "Starts a run of a configured command; the caller cannot change the command. \
        Requires the grant `run` for the job. The output goes to a stream, which late \
        subscribers get from the first line. Not idempotent: a repeated request starts another \
        run, up to `at-most`.",
    params(("name" = String, Path, description = "Name of the job")),
    responses(
        (status = 202, description = "The run was started", body = BegunShape,
         example = examples::started_run),
        StartRunErrors,
    )
)]
pub(crate) async fn begin(
    state: Data<AppState>,
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let caller = may_run(&state, &request, &name)?;
    let started = state.jobs.start_run(&name, caller.counted_as().as_deref()).await?;
    let shape = BegunShape::from(&started);
    Ok(HttpResponse::Accepted()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::LOCATION, shape.events_url.clone()))
        .json(shape))
}

/// `DELETE /jobs/{name}/runs/{run}`: sends SIGTERM, then SIGKILL if the run does not end.
#[utoipa::path(delete, path = "/jobs/{name}/runs/{run}", tag = "jobs",
    summary = "Stop a run",
    description = "Sends SIGTERM to all processes of a run, and SIGKILL after `stop-after`. \
        Requires the grant `run` for the job. The `exit` event of its stream reports the end; a \
        repeated request succeeds.",
    params(
        ("name" = String, Path, description = "Name of the job"),
        ("run" = String, Path, description = "Name of the run"),
    ),
    responses(
        (status = 202, description = "The run is being stopped"),
        (status = 204, description = "The run has ended already"),
        StopRunErrors,
    )
)]
pub(crate) async fn stop(
    state: Data<AppState>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (name, run) = path.into_inner();
    may_run(&state, &request, &name)?;
    if state.jobs.stop(&name, &run) {
        return Ok(HttpResponse::Accepted().finish());
    }
    // Stopping a run that has just ended succeeds.
    let has_ended = match state.jobs.stream_of(&name, &run) {
        Some(stream) => {
            let found = read_history(&state, move |history| history.stream(&stream)).await?;
            // One that has not ended may be running at another hub of the cluster.
            found.is_some_and(|found| found.ended || state.node.has_run(&run))
        }
        None => false,
    };
    if has_ended {
        Ok(HttpResponse::NoContent().finish())
    } else {
        let detail = format!("unknown run {run:?} of job {name:?}");
        Err(Problem::new(Code::NotFound, detail))
    }
}

fn may_run(
    state: &AppState,
    request: &HttpRequest,
    name: &str,
) -> Result<std::sync::Arc<Caller>, Problem> {
    let caller = require_caller(state, request)?;
    if caller.grants.may_run(name) {
        Ok(caller)
    } else {
        Err(Problem::new(
            Code::Forbidden,
            format!("permission denied: you cannot run job {name:?}"),
        ))
    }
}
