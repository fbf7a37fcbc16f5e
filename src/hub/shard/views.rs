//! Views of the sessions of a shard, each with a short id.

use crate::hub::ids::ViewId;
use crate::wire::View;
use rustc_hash::FxHashMap;

/// Views with the number of sessions of each.
#[derive(Default)]
pub(in crate::hub) struct Views {
    all: FxHashMap<ViewId, (View, u32)>,
    last: ViewId,
}

impl Views {
    /// Counts a new session with `view`; returns the id of the view.
    pub(in crate::hub) fn acquire(&mut self, view: &View) -> ViewId {
        if let Some((id, (_, sessions))) = self.all.iter_mut().find(|(_, (known, _))| known == view)
        {
            *sessions += 1;
            return *id;
        }
        self.last = self.last.next();
        self.all.insert(self.last, (view.clone(), 1));
        self.last
    }

    /// Removes a session from the count of a view; forgets the view with its last session.
    pub(in crate::hub) fn release(&mut self, id: ViewId) {
        if let Some((_, sessions)) = self.all.get_mut(&id) {
            *sessions -= 1;
            if *sessions == 0 {
                self.all.remove(&id);
            }
        }
    }

    /// Returns all views that sessions have.
    pub(in crate::hub) fn all(&self) -> Vec<(ViewId, View)> {
        self.all.iter().map(|(id, (view, _))| (*id, view.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn view_exists_while_sessions_have_it_and_its_id_is_not_reused() {
        let mut views = Views::default();
        let enveloped = View { envelope: true, ..View::default() };
        let first = views.acquire(&View::default());
        assert_eq!(views.acquire(&View::default()), first);
        assert_ne!(views.acquire(&enveloped), first);
        views.release(first);
        assert_eq!(views.all().len(), 2);
        views.release(first);
        assert_eq!(views.all().len(), 1);
        assert_ne!(views.acquire(&View::default()), first);
    }
}
