//! `GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's form.

use crate::http::api::chats::completions::openai_response;
use crate::http::error::{Code, Problem};
use crate::http::extract::identity::require_caller;
use crate::http::openapi::chat_errors::{ListModelsErrors, ModelErrors};
use crate::http::openapi::chat_examples;
use crate::http::state::AppState;
use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

/// `GET /v1/models`
#[utoipa::path(get, path = "/v1/models", tag = "openai",
    summary = "List models",
    description = "Lists the models of the hub, the default one first. Returns only models that \
        the grant `chat` covers.",
    responses(
        (status = 200, description = "The models", body = Object,
         content_type = "application/json", example = chat_examples::models),
        ListModelsErrors,
    )
)]
pub(crate) async fn models(state: Data<AppState>, request: HttpRequest) -> HttpResponse {
    let listed = granted_models(&state, &request).map(|models| {
        let data: Vec<Value> =
            models.iter().map(|(model, upstream)| model_object(model, upstream)).collect();
        HttpResponse::Ok()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(json!({ "object": "list", "data": data }))
    });
    openai_response(&state, listed)
}

/// `GET /v1/models/{id}`
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai",
    summary = "Describe a model",
    description = "Returns a model in OpenAI's form. Requires the grant `chat` for the model; \
        other models are a 404.",
    params(("id" = String, Path, description = "Id of the model")),
    responses(
        (status = 200, description = "The model", body = Object,
         content_type = "application/json", example = chat_examples::model),
        ModelErrors,
    )
)]
pub(crate) async fn model(
    state: Data<AppState>,
    request: HttpRequest,
    id: Path<String>,
) -> HttpResponse {
    let found = granted_models(&state, &request).and_then(|models| {
        let found = models.iter().find(|(model, _)| *model == *id);
        found
            .map(|(model, upstream)| HttpResponse::Ok().json(model_object(model, upstream)))
            .ok_or_else(|| {
                Problem::new(Code::NotFound, format!("unknown model {:?}", *id)).field("model")
            })
    });
    openai_response(&state, found)
}

fn granted_models(
    state: &AppState,
    request: &HttpRequest,
) -> Result<Vec<(String, String)>, Problem> {
    let caller = require_caller(state, request)?;
    let mut models = state.chats.models();
    models.retain(|(model, _)| caller.grants.may_chat(model));
    Ok(models)
}

fn model_object(model: &str, upstream: &str) -> Value {
    json!({ "id": model, "object": "model", "created": 0, "owned_by": upstream })
}
