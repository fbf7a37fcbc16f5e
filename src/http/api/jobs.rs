//! `GET /jobs`, `POST /jobs/{name}/runs` and `DELETE /jobs/{name}/runs/{run}`: commands that the
//! configuration names, run by those to whom they are granted.

use crate::access::Caller;
use crate::http::error::{Code, Document, Problem};
use crate::http::extract::identity::require_caller;
use crate::http::history::read_history;
use crate::http::openapi::responses::{BodyRefused, HistoryRefused, Refused};
use crate::http::state::AppState;
use crate::source::{JobView, StartRunError, StartedRun};
use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

/// The configured jobs.
#[derive(Serialize, ToSchema)]
#[schema(as = JobList)]
pub(crate) struct List {
    jobs: Vec<JobView>,
}

/// A run that was begun.
#[derive(Serialize, ToSchema)]
#[schema(as = BegunRun)]
pub(crate) struct BegunShape {
    /// Name of the run, to stop it.
    run: String,
    /// Stream of the run: `start`, `log` events, `exit`, then the end.
    stream: String,
    /// URL of that stream's events, from the start.
    events_url: String,
}

impl From<&StartedRun> for BegunShape {
    fn from(begun: &StartedRun) -> Self {
        let stream = begun.stream.to_string();
        let events_url = format!("/streams/{stream}/events?from=start");
        Self { run: begun.run.clone(), stream, events_url }
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
    responses(
        (status = 200, description = "The jobs that are granted, with their runs", body = List),
        Refused,
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

/// `POST /jobs/{name}/runs`: its output is a stream, from its first line on for whoever comes late.
#[utoipa::path(post, path = "/jobs/{name}/runs", tag = "jobs",
    params(("name" = String, Path, description = "The job")),
    responses(
        (status = 202, description = "It was begun", body = BegunShape),
        (status = 404, description = "There is no such job", body = Document,
         content_type = "application/problem+json"),
        Refused,
        BodyRefused,
    )
)]
pub(crate) async fn begin(
    state: Data<AppState>,
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let caller = may_run(&state, &request, &name)?;
    let begun = state.jobs.begin(&name, caller.counted_as().as_deref()).await?;
    let shape = BegunShape::from(&begun);
    Ok(HttpResponse::Accepted()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::LOCATION, shape.events_url.clone()))
        .json(shape))
}

/// `DELETE /jobs/{name}/runs/{run}`: TERM, and KILL where that does not help.
#[utoipa::path(delete, path = "/jobs/{name}/runs/{run}", tag = "jobs",
    params(
        ("name" = String, Path, description = "The job"),
        ("run" = String, Path, description = "Its run"),
    ),
    responses(
        (status = 202, description = "It is told to stop; its `exit` event says when it has"),
        (status = 204, description = "It has ended already"),
        (status = 404, description = "There is none, or it is forgotten", body = Document,
         content_type = "application/problem+json"),
        Refused,
        HistoryRefused,
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
    // Whoever stops it just when it ends has what they wanted.
    let has_ended = match state.jobs.stream_of(&name, &run) {
        Some(stream) => {
            read_history(&state, move |history| history.stream(&stream)).await?.is_some()
        }
        None => false,
    };
    if has_ended {
        Ok(HttpResponse::NoContent().finish())
    } else {
        let detail = format!("the job {name:?} has no run {run:?}");
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
        Err(Problem::new(Code::Forbidden, format!("running the job {name:?} is not granted")))
    }
}
