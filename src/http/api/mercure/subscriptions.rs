//! `GET /.well-known/mercure/subscriptions…`: active subscriptions, of all hubs of a cluster.

use crate::access::{Denied, Dialect};
use crate::event::topic::EARLIEST;
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::identity;
use crate::http::extract::mercure::{MercureRequest, hub_paths};
use crate::http::history::read_history;
use crate::http::peers;
use crate::http::state::AppState;
use crate::source::ActiveSubscription;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// Path of the collection, below that of the hub.
pub(super) const COLLECTION: &str = "/subscriptions";

/// Selected subscriptions.
struct Selection {
    dialect: Dialect,
    match_type: Option<String>,
    matcher: Option<String>,
    subscriber: Option<String>,
}

impl Selection {
    /// Reads the part of a path after that of the collection.
    fn parse(dialect: Dialect, rest: &str) -> Option<Self> {
        let decode = |part: &str| percent_decode_str(part).decode_utf8().ok().map(Into::into);
        let parts: Option<Vec<String>> = rest.split('/').skip(1).map(decode).collect();
        let mut parts = parts?;
        let mut match_type = None;
        if dialect == Dialect::One && !parts.is_empty() {
            match_type = Some(parts.remove(0));
            if parts.is_empty() {
                return None;
            }
        }
        let mut parts = parts.into_iter();
        let (matcher, subscriber) = (parts.next(), parts.next());
        parts.next().is_none().then_some(Self { dialect, match_type, matcher, subscriber })
    }

    fn selects(&self, one: &ActiveSubscription) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|w| w == value);
        one.dialect == self.dialect
            && is(&self.match_type, one.match_type)
            && is(&self.matcher, &one.matcher)
            && is(&self.subscriber, &one.subscriber)
    }
}

/// Lists subscriptions, or describes one.
pub(super) async fn get(
    state: Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let own = MercureRequest::of(&request)?;
    let not_found = || Problem::new(Code::NotFound, "no such subscription");
    let active = state.subscriptions.as_ref().ok_or_else(not_found)?;
    let Some(granted) = identity(&request).and_then(|caller| caller.topics.clone()) else {
        return Err(own.refused(&state, Denied::Missing));
    };
    let rest = rest(&own, request.path()).ok_or_else(not_found)?;
    let id = format!("{}{COLLECTION}{rest}", own.settings.url.path());
    if !granted.may_read(&id) {
        let why = format!("permission denied: you cannot read the topic {id:?}");
        return Err(own.insufficient(why));
    }
    let selection = Selection::parse(own.dialect, rest).ok_or_else(not_found)?;
    // First, so that what changes meanwhile follows it.
    let last_id = read_history(&state, |history| history.last_update_id()).await?;
    let last_id = last_id.unwrap_or_else(|| EARLIEST.to_owned());
    let mut found = active.documents(|one| selection.selects(one));
    let answers = peers::ask_all(&state, &request).await.bodies;
    let elsewhere = answers.iter().filter_map(|body| serde_json::from_slice::<Value>(body).ok());
    let mut document = if selection.subscriber.is_some() {
        found.extend(elsewhere);
        found.into_iter().next().ok_or_else(not_found)?
    } else {
        for mut list in elsewhere {
            if let Some(others) = list["subscriptions"].as_array_mut() {
                found.append(others);
            }
        }
        collection(own.dialect, &id, found)
    };
    if own.dialect == Dialect::Zero {
        document["lastEventID"] = json!(last_id);
    }
    Ok(response(&own, &last_id, &document))
}

/// Returns the part of a path after that of the collection.
fn rest<'a>(own: &MercureRequest, path: &'a str) -> Option<&'a str> {
    let mut paths = hub_paths(&own.settings).into_iter();
    let rest = paths.find_map(|hub| path.strip_prefix(hub)?.strip_prefix(COLLECTION))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn collection(dialect: Dialect, id: &str, subscriptions: Vec<Value>) -> Value {
    match dialect {
        Dialect::One => {
            json!({ "id": id, "type": "subscriptions", "subscriptions": subscriptions })
        }
        Dialect::Zero => json!({
            "@context": "https://mercure.rocks/",
            "id": id,
            "type": "Subscriptions",
            "subscriptions": subscriptions,
        }),
    }
}

fn response(own: &MercureRequest, last_id: &str, document: &Value) -> HttpResponse {
    let (kind, link) = match own.dialect {
        Dialect::One => {
            let id = last_id.replace('\\', "\\\\").replace('"', "\\\"");
            let attributes = format!(
                "; last-event-id=\"{id}\"; type=\"mercure\"; content-type=\"application/json\""
            );
            ("application/json", own.settings.link() + &attributes)
        }
        Dialect::Zero => ("application/ld+json", own.settings.link()),
    };
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header((header::CACHE_CONTROL, "must-revalidate"));
    // An id may have characters that a header cannot have as text.
    if let Ok(link) = HeaderValue::from_bytes(link.as_bytes()) {
        response.insert_header((header::LINK, link));
    }
    response.body(document.to_string())
}
