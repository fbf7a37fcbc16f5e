//! Answers to publishes, as JSON.

use super::control::json;
use crate::event::{EventId, Receipt};
use serde::Serialize;

#[derive(Serialize)]
struct ReceiptView<'a> {
    id: String,
    stream: Streams<'a>,
    subscribers: u32,
    duplicate: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Streams<'a> {
    One(&'a str),
    Several(Vec<&'a str>),
}

impl<'a> From<&'a Receipt> for ReceiptView<'a> {
    fn from(receipt: &'a Receipt) -> Self {
        let stream = match &*receipt.streams {
            [one] => Streams::One(one.as_str()),
            several => Streams::Several(several.iter().map(|s| s.as_str()).collect()),
        };
        Self {
            id: receipt.id.to_string(),
            stream,
            subscribers: receipt.subscribers,
            duplicate: receipt.duplicate,
        }
    }
}

/// Returns the answer to a publish of one event.
pub fn receipt(receipt: &Receipt) -> Vec<u8> {
    json(&ReceiptView::from(receipt))
}

/// Returns the answer to a publish of an array, in its order.
pub fn receipts(receipts: &[Receipt]) -> Vec<u8> {
    json(&receipts.iter().map(ReceiptView::from).collect::<Vec<_>>())
}

/// Returns the answer to a publish of newline-delimited JSON: the number of newly published events,
/// and the first and the last id.
pub fn summary(receipts: &[Receipt]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Summary {
        published: usize,
        first: Option<String>,
        last: Option<String>,
    }
    json(&Summary {
        published: receipts.iter().filter(|r| !r.duplicate).count(),
        first: receipts.first().map(|r| r.id.to_string()),
        last: receipts.last().map(|r| r.id.to_string()),
    })
}

/// Returns the answer to the end of a stream.
pub fn end_receipt(id: EventId, stream: &str, subscribers: u32) -> Vec<u8> {
    #[derive(Serialize)]
    struct End<'a> {
        id: String,
        stream: &'a str,
        state: &'a str,
        subscribers: u32,
    }
    json(&End { id: id.to_string(), stream, state: "ended", subscribers })
}
