//! Responses that several routes describe.

use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::openapi::{Content, Ref, RefOr, Response as Described, ResponseBuilder};

fn problem(why: &str) -> RefOr<Described> {
    let schema = Ref::from_schema_name("Problem");
    let content = Content::new(Some(schema));
    ResponseBuilder::new()
        .description(why)
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
        400 = "The request cannot be read",
        401 = "No credential where one is needed, or one that is not good",
        403 = "It is not granted, or a page of another site asks",
        421 = "It is meant for another host",
    }
    /// Refusals of routes that take a body.
    BodyErrors {
        408 = "The body stopped in the middle",
        413 = "The body, or the data of an event, is too large",
        422 = "A value fails its check",
        429 = "The client's own limit is reached",
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
        404 = "There is no such chat, or it is another's",
        410 = "The chat is deleted",
    }
}

/// Responses to a subscriber.
pub(crate) struct Subscribed;

impl IntoResponses for Subscribed {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let text = || Content::new(Some(Schema::from(Object::with_type(Type::String))));
        let events = ResponseBuilder::new()
            .description("Events, or, where an EventSource is turned away, why")
            // The specification of Server-Sent Events defines the format.
            .content("text/event-stream", Content::new(None::<Schema>))
            .content("application/x-ndjson", text())
            .content("text/plain", text())
            .content("text/csv", text());
        let finished = ResponseBuilder::new().description("Everything asked for has ended");
        BTreeMap::from([
            ("200".to_owned(), events.build().into()),
            ("204".to_owned(), finished.build().into()),
            ("422".to_owned(), problem("It names too many streams")),
            ("429".to_owned(), problem("The client's own limit is reached")),
            ("503".to_owned(), problem("A limit of the hub is reached, or it is stopping")),
        ])
    }
}
