//! Sessions of a shard as operators see them.

use super::members::Members;
use super::session::{Mode, Session};
use crate::hub::ids::SessionKey;
use crate::hub::session_view::{SessionFilter, SessionView};
use crate::journal::History;
use uuid::Uuid;

impl SessionFilter {
    fn matches(&self, session: &Session) -> bool {
        let owner = &session.owner;
        session.origin.is_some()
            && self.after.is_none_or(|after| session.id > after)
            && self.address.is_none_or(|address| owner.client.address == address)
            && self.subject.as_deref().is_none_or(|s| owner.subject.as_deref() == Some(s))
            && self.stream.as_ref().is_none_or(|stream| session.interest.selects(stream))
    }
}

/// Returns the sessions that `filter` matches, unsorted: those with the lowest ids if there are
/// more than its limit.
pub(in crate::hub) fn list(
    members: &Members,
    history: &History,
    filter: &SessionFilter,
) -> Vec<SessionView> {
    let found = members.sessions().filter(|(_, session)| filter.matches(session));
    let mut found: Vec<(Uuid, SessionKey)> = found.map(|(key, s)| (s.id, *key)).collect();
    if found.len() > filter.limit {
        found.select_nth_unstable(filter.limit);
        found.truncate(filter.limit);
    }
    let sessions = found.iter().filter_map(|(_, key)| members.session(*key));
    sessions.filter_map(|session| view(members, history, session)).collect()
}

fn view(members: &Members, history: &History, session: &Session) -> Option<SessionView> {
    let origin = session.origin?;
    let queue = session.group.and_then(|group| members.queue(group));
    let unread = match (&session.mode, queue) {
        (Mode::Live { next, .. }, Some(queue)) => Some((queue.peek(*next), *next, queue)),
        _ => None,
    };
    let unsent = session.unsent();
    let unsent_bytes = session.sink.as_ref().map_or(0, |sink| sink.unsent_bytes() as u64);
    let queued = unread.map_or(0, |(_, next, queue)| queue.unread_bytes(next));
    let lag = unread.map(|(segment, ..)| {
        let oldest = unsent.map(|(at, _)| at).or(segment.map(|segment| segment.at));
        oldest.map_or(0, |at| at.elapsed().as_millis())
    });
    Some(SessionView {
        id: session.id,
        streams: session.interest.selectors().to_vec(),
        protocol: session.view.format.protocol(),
        topics: session.interest.topic_texts(),
        subject: session.owner.subject.clone(),
        address: session.owner.client.address,
        since_ms: origin.at.ms(),
        resume: origin.resume.as_str(),
        position: history.id(session.cursor),
        is_catching_up: unread.is_none(),
        lag_ms: lag.map(|ms| ms as u64),
        queued_bytes: queued + unsent_bytes,
        sent_events: session.sent_events,
    })
}
