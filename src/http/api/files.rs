//! `GET /files/{folder}/{path}`: downloads from the configured folders, with ranges, and with their
//! progress on a stream if the client requests it.
//!
//! Promises: a part of a file is read only when the client has room for it, so that memory does not
//! depend on the file's size; nothing outside a folder is opened, whatever a path or a link says.

use crate::event::StreamName;
use crate::http::api::download_progress::{DownloadProgress, MeteredBody, ProgressTarget};
use crate::http::api::publish::check_publish;
use crate::http::error::{Code, Problem};
use crate::http::extract::client::client;
use crate::http::extract::identity::{quota_owner, require_caller};
use crate::http::extract::query;
use crate::http::openapi::errors::FileErrors;
use crate::http::resource::Routes;
use crate::http::state::AppState;
use crate::platform;
use crate::telemetry::FileOutcome;
use actix_files::NamedFile;
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, Data, Path, block};
use actix_web::{HttpRequest, HttpResponse, Route};
use rustix::io::Errno;
use std::io;

/// Content security policy of downloads: a browser that shows one may load and run nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// Path of downloads.
pub(crate) const PATH: &str = "/files/{folder}/{path}";
/// Pattern that matches [`PATH`]: the last parameter may contain slashes.
pub(crate) const PATTERN: &str = "/files/{folder}/{path:.*}";

/// Paths of downloads.
pub(crate) const ROUTES: Routes = &[(PATH, &["GET"])];

/// Returns the handler of downloads.
pub(crate) fn handler(path: &str, method: &str) -> Option<Route> {
    (method == "GET" && path == PATH).then(|| web::get().to(get))
}

/// `GET /files/{folder}/{path}`, whole or in ranges (RFC 9110 §14).
#[utoipa::path(get, path = "/files/{folder}/{path}", tag = "files",
    summary = "Download a file",
    description = "Sends a file of a configured folder, whole or in ranges (RFC 9110 §14). \
        Requires the grant `files` for the folder. `progress` also requires `publish` for that \
        stream, and publishes the progress there at most ten times a second. A client reads at \
        its own pace: memory does not depend on the size of the file.",
    params(
        ("folder" = String, Path, description = "Name of the folder"),
        ("path" = String, Path,
         description = "Path of the file in the folder; may contain slashes"),
        ("progress" = Option<String>, Query, description = "Stream to publish the progress to"),
        ("Range" = Option<String>, Header, description = "Byte range to download"),
    ),
    responses(
        (status = 200, description = "The file", body = Vec<u8>,
         content_type = "application/octet-stream"),
        (status = 206, description = "The requested range of the file", body = Vec<u8>,
         content_type = "application/octet-stream"),
        (status = 304, description = "The file has not changed"),
        (status = 412, description = "The file does not match `If-Match` or `If-Unmodified-Since`"),
        (status = 416, description = "The range is outside the file"),
        FileErrors,
    )
)]
pub(crate) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (folder, path) = path.into_inner();
    let served = serve(&state, &request, folder, path).await;
    state.telemetry.file_served(match &served {
        Ok(response) => match response.status() {
            StatusCode::OK => FileOutcome::Whole,
            StatusCode::PARTIAL_CONTENT => FileOutcome::Part,
            StatusCode::NOT_MODIFIED => FileOutcome::NotModified,
            _ => FileOutcome::Invalid,
        },
        Err(problem) => match problem.code {
            Code::NotFound => FileOutcome::NotFound,
            Code::Unauthorized | Code::TokenExpired | Code::Forbidden => FileOutcome::Forbidden,
            Code::ResourceExhausted | Code::TooMany => FileOutcome::Busy,
            Code::ServerError => FileOutcome::Error,
            _ => FileOutcome::Invalid,
        },
    });
    served
}

async fn serve(
    state: &Data<AppState>,
    request: &HttpRequest,
    name: String,
    path: String,
) -> Result<HttpResponse, Problem> {
    let caller = require_caller(state, request)?;
    if !caller.grants.may_download(&name) {
        let why = format!("permission denied: you cannot download from folder {name:?}");
        return Err(Problem::new(Code::Forbidden, why));
    }
    let progress = match requested_progress_stream(request)? {
        Some(stream) => {
            check_publish(&caller, &stream)?;
            refuse_cross_site(request)?;
            Some(stream)
        }
        None => None,
    };
    let missing =
        || Problem::new(Code::NotFound, format!("unknown file {path:?} in folder {name:?}"));
    let folder = state.settings.folders.iter().find(|folder| folder.name == name);
    let folder = folder.ok_or_else(missing)?.path.clone();
    let permit = state.downloads.begin(&client(state, request))?;
    let requested_path = path.clone();
    let opened = block(move || {
        let file = platform::open_beneath(&folder, &requested_path)?;
        NamedFile::from_file(file, folder.join(&requested_path))
    });
    let file = match opened.await {
        Ok(Ok(file)) => file,
        Ok(Err(error)) if is_missing(&error) => return Err(missing()),
        Ok(Err(error)) => {
            return Err(Problem::new(Code::ServerError, format!("cannot read {path:?}: {error}")));
        }
        Err(error) => return Err(Problem::new(Code::ServerError, error.to_string())),
    };
    let mut response = file.into_response(request);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "private, no-cache"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    if request.method() == Method::HEAD || !response.status().is_success() {
        return Ok(response);
    }
    let progress = progress.map(|stream| {
        let owner = quota_owner(state, request, &caller);
        let target = ProgressTarget { owner, stream, file: format!("{name}/{path}") };
        DownloadProgress::begin(state.clone(), target, &response)
    });
    let telemetry = state.telemetry.clone();
    Ok(response
        .map_body(|_, body| MeteredBody::new(body, progress, telemetry, permit))
        .map_into_boxed_body())
}

/// Returns the stream that the progress is published to, if the request names one.
fn requested_progress_stream(request: &HttpRequest) -> Result<Option<StreamName>, Problem> {
    let pairs = query::pairs(request.query_string()).map_err(Problem::query)?;
    let value = query::single(&pairs, &["progress"]).map_err(Problem::query)?;
    value
        .map(StreamName::parse)
        .transpose()
        .map_err(|invalid| Problem::query(crate::event::Invalid::new("progress", invalid.detail)))
}

/// Refuses requests of other sites: this GET publishes, and an image on any page can cause a GET.
fn refuse_cross_site(request: &HttpRequest) -> Result<(), Problem> {
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        let why =
            "permission denied: pages of other sites cannot publish the progress of a download";
        Err(Problem::new(Code::Forbidden, why).field("progress"))
    } else {
        Ok(())
    }
}

/// Returns true if a file is missing or must not be served; both get the same response.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::NotFound
            | E::PermissionDenied
            | E::NotADirectory
            | E::CrossesDevices
            | E::InvalidFilename
            | E::InvalidInput
    ) || [Errno::LOOP, Errno::NXIO].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_that_lead_out_of_the_folder_are_missing() {
        let outside = tempfile::tempdir().expect("a folder");
        let folder = outside.path().join("in");
        std::fs::create_dir_all(folder.join("sub")).expect("a folder");
        for file in ["secret", "in/a", "in/sub/b", "in/.hidden"] {
            std::fs::write(outside.path().join(file), file).expect("writes");
        }
        symlink("../secret", folder.join("out")).expect("a link");
        symlink("/etc/passwd", folder.join("far")).expect("a link");
        symlink("sub", folder.join("down")).expect("a link");
        symlink("..", folder.join("up")).expect("a link");
        for path in ["a", "sub/b", "down/b"] {
            assert!(platform::open_beneath(&folder, path).is_ok(), "{path}");
        }
        for path in [
            "",
            "/",
            "nothing",
            "sub",
            "sub/",
            "a/",
            "./a",
            "../secret",
            "sub/../a",
            "out",
            "far",
            "up/secret",
            ".hidden",
            "/etc/passwd",
            "a\0",
            "sub//b",
        ] {
            let error = platform::open_beneath(&folder, path)
                .err()
                .unwrap_or_else(|| panic!("{path} is opened"));
            assert!(is_missing(&error), "{path}: {error}");
        }
    }
}
