//! Responses that several routes describe.

use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::openapi::{Content, Ref, RefOr, Response as Described, ResponseBuilder};

fn problem(description: &str) -> RefOr<Described> {
    let schema = Ref::from_schema_name("Problem");
    let content = Content::new(Some(schema));
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
        .into()
}

/// Defines groups of refusals by their status.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident { $($status:literal = $why:literal,)* })*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Described>> {
                let all = [$((stringify!($status), $why)),*];
                all.into_iter().map(|(status, why)| (status.to_owned(), problem(why))).collect()
            }
        }
    )*};
}

refusals! {
    /// Refusals of every route.
    CommonErrors {
        400 = "The request cannot be parsed",
        401 = "Authentication is required, or the credential is invalid",
        403 = "Permission denied, or a page of another site sent the request",
        421 = "The request is for another host",
    }
    /// Refusals of routes that take a body.
    BodyErrors {
        408 = "The body stopped or arrived too slowly",
        413 = "The body, or the data of an event, is too large",
        422 = "A value is invalid",
        429 = "A limit of the client is reached",
        503 = "A limit of the hub is reached, its disk is full, or it is stopping",
    }
    /// Refusals of routes that read the journal.
    HistoryErrors {
        500 = "The journal cannot be read",
    }
}

#[cfg(feature = "chat")]
refusals! {
    /// Refusals of routes of one chat.
    ChatErrors {
        404 = "Unknown chat, or a chat of another subject",
        410 = "The chat was deleted or is no longer stored",
    }
}

/// Responses to a subscriber.
pub(crate) struct Subscribed;

impl IntoResponses for Subscribed {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let text = || Content::new(Some(Schema::from(Object::with_type(Type::String))));
        let events = ResponseBuilder::new()
            .description("Events, or the reason why an EventSource was rejected")
            // The specification of Server-Sent Events defines the format.
            .content("text/event-stream", Content::new(None::<Schema>))
            .content("application/x-ndjson", text())
            .content("text/plain", text())
            .content("text/csv", text());
        let finished = ResponseBuilder::new().description("No events are left, and none will come");
        BTreeMap::from([
            ("200".to_owned(), events.build().into()),
            ("204".to_owned(), finished.build().into()),
            ("422".to_owned(), problem("The subscription has too many selectors")),
            ("429".to_owned(), problem("A limit of the client is reached")),
            ("503".to_owned(), problem("A limit of the hub is reached, or it is stopping")),
        ])
    }
}
