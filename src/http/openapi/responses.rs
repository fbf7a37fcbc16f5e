//! Responses that several operations describe: event streams, and errors with their codes.

use crate::http::error::Problem;
use crate::http::openapi::examples;
use actix_web::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::openapi::{Content, Ref, RefOr, Response as Described, ResponseBuilder};

/// Responses by their status.
pub(super) type Responses = BTreeMap<String, RefOr<Described>>;

/// Causes of errors, each with an example of its problem. Of several causes of one code and status
/// the last one counts.
pub(super) type Causes = Vec<(&'static str, Problem)>;

/// A code of an error with its cause and an example of the body.
pub(super) struct ErrorCase {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) cause: &'static str,
    pub(super) body: Value,
}

impl ErrorCase {
    /// Returns the case of a problem whose body is in the form that `body` makes.
    pub(super) fn new(
        cause: &'static str,
        problem: &Problem,
        body: impl Fn(&Problem) -> Value,
    ) -> Self {
        let (code, _, status) = problem.code.row();
        Self { status, code: code.to_owned(), cause, body: body(problem) }
    }
}

/// Describes errors whose bodies are problem documents.
pub(super) fn problem_responses(causes: Causes) -> Responses {
    let body = |problem: &Problem| json!(problem.document());
    let cases = causes.into_iter();
    let cases = cases.map(|(cause, problem)| ErrorCase::new(cause, &problem, body));
    error_responses(cases, "application/problem+json", "Problem")
}

/// Describes errors: a response for each status, with an example for each code.
pub(super) fn error_responses(
    cases: impl Iterator<Item = ErrorCase>,
    content_type: &str,
    schema: &str,
) -> Responses {
    let mut by_status: BTreeMap<u16, BTreeMap<String, ErrorCase>> = BTreeMap::new();
    for case in cases {
        let codes = by_status.entry(case.status.as_u16()).or_default();
        codes.insert(case.code.clone(), case);
    }
    let describe = |codes: BTreeMap<String, ErrorCase>| {
        let causes = codes.values().map(|case| format!("`{}`: {}", case.code, case.cause));
        let description = causes.collect::<Vec<_>>().join("; ");
        let examples = codes.into_iter().map(|(code, case)| {
            (code, ExampleBuilder::new().summary(case.cause).value(Some(case.body)).build())
        });
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(schema)))
            .examples_from_iter(examples);
        ResponseBuilder::new().description(description).content(content_type, content.build())
    };
    let responses = by_status.into_iter();
    responses.map(|(status, codes)| (status.to_string(), describe(codes).build().into())).collect()
}

/// Responses with events.
pub(crate) struct EventResponses;

impl IntoResponses for EventResponses {
    fn responses() -> Responses {
        let text = |example: &str| {
            ContentBuilder::new()
                .schema(Some(Schema::from(Object::with_type(Type::String))))
                .example(Some(example.into()))
                .build()
        };
        // The specification of Server-Sent Events defines the format.
        let blocks = Content::builder().example(Some(examples::EVENT_BLOCKS.into())).build();
        let events = ResponseBuilder::new()
            .description("Events, or the reason why an EventSource was refused")
            .content("text/event-stream", blocks)
            .content("application/x-ndjson", text(examples::EVENT_LINES))
            .content("text/plain", text("v42 is out\n"))
            .content("text/csv", text("n,item\r\n2,tea\r\n"));
        let finished = ResponseBuilder::new().description("No events are left, and none will come");
        BTreeMap::from([
            ("200".to_owned(), events.build().into()),
            ("204".to_owned(), finished.build().into()),
        ])
    }
}
