//! `/api/v1/events`: verdicts as they come, as Server-Sent Events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged;

use super::Context;
use crate::control::Event;

/// Who may listen at once.
const LISTENERS: usize = 100;

/// Those kept after `Last-Event-ID` (without it, none) first, then each as it comes. Events `verdict` and `order` have an event's JSON;
/// `lost` the number of those that a slow listener missed.
pub(super) async fn events(State(context): State<Arc<Context>>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<u32>().ok()).map(u64::from);
    // The webhook's task listens too.
    if context.shared.events.listeners() > LISTENERS {
        let text = format!("{LISTENERS} listen already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    let (before, listener) = context.shared.events.listen(last);
    let live = BroadcastStream::new(listener).map(|event| match event {
        Ok(event) => sent(&event),
        Err(Lagged(count)) => Sent::default().event("lost").data(count.to_string()),
    });
    let missed = before.first().zip(last).map_or(0, |(first, last)| first.id.saturating_sub(last + 1));
    let lost = (missed > 0).then(|| Sent::default().event("lost").data(missed.to_string()));
    let before: Vec<Sent> = lost.into_iter().chain(before.iter().map(|event| sent(event))).collect();
    let stream = tokio_stream::iter(before).chain(live).map(Ok::<_, Infallible>);
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

fn sent(event: &Event) -> Sent {
    let data = serde_json::to_string(event).unwrap_or_default(); // numbers and text can be written
    let kind = if event.of == "order" { "order" } else { "verdict" };
    Sent::default().event(kind).id(event.id.to_string()).data(data)
}
