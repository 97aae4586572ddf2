//! How sessions begin and end: opened and closed by moderators, or implicit from a room's first comment on.
//!
//! The store decides which of several nodes starts or ends a session; that node appends it to the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use log::{Change, Record};
use model::{RoomId, RoomState, Session, Snowflake};

use super::entry::TransitionGuard;
use super::{ChangeError, RoomEntry, RoomInfo, Rooms};
use crate::Refusal;

impl Rooms {
    /// Opens a session, or returns the one that a moderator opened before. An implicit session ends first.
    ///
    /// # Errors
    /// [`ChangeError::Away`]; calling again is safe.
    pub async fn open(&self, room: &RoomId) -> Result<Arc<Session>, ChangeError> {
        let entry = self.entry(room).await?;
        let _change = entry.change.lock().await;
        self.reload(&entry, room).await?;
        let before = entry.info();
        let announced = !entry.unannounced.load(Ordering::Relaxed);
        if let Some(session) = before.session.as_ref().filter(|session| session.explicit && announced) {
            return Ok(session.clone());
        }
        let _transition = TransitionGuard::begin(&entry, RoomState::Starting);
        if let Some(session) = before.session.as_ref().filter(|session| !session.explicit) {
            self.end_session(&entry, room, Some(session.id), false).await?;
        }
        let session = self.start_session(&entry, room, true).await?;
        self.publish_state(room, &entry.info().without_transition()).await?;
        Ok(session)
    }

    /// Closes the room: its session ends, and comments are refused until it is opened again.
    ///
    /// # Errors
    /// [`ChangeError::Away`]; calling again is safe.
    pub async fn close(&self, room: &RoomId) -> Result<Option<Arc<Session>>, ChangeError> {
        let entry = self.entry(room).await?;
        let _change = entry.change.lock().await;
        let _transition = TransitionGuard::begin(&entry, RoomState::Closing);
        let ended = self.end_session(&entry, room, None, true).await?;
        self.publish_state(room, &entry.info().without_transition()).await?;
        Ok(ended)
    }

    /// The session a comment belongs to; starts an implicit one in a room that nobody opened.
    pub(crate) async fn session_for_comment(
        &self,
        entry: &RoomEntry,
        room: &RoomId,
        now_ms: i64,
    ) -> Result<Arc<Session>, Refusal> {
        entry.last_comment_ms.store(now_ms, Ordering::Relaxed);
        if let Some(session) = &entry.info.load().session {
            return Ok(session.clone());
        }
        let _change = entry.change.lock().await;
        let info = entry.info();
        match &info.session {
            Some(session) => Ok(session.clone()),
            None if !self.accepts_comments(&info) && info.closed => Err(Refusal::RoomClosed),
            None => {
                let session = self.start_session(entry, room, false).await?;
                self.publish_state(room, &entry.info().without_transition()).await?;
                Ok(session)
            }
        }
    }

    /// The session a gift counts in; starts an implicit one where comments would.
    pub(crate) async fn session_for_gift(&self, room: &RoomId) -> Result<Arc<Session>, Refusal> {
        let entry = self.entry(room).await?;
        let info = entry.info();
        let on = info.session.is_some() || (!info.closed && self.rules.unopened);
        if !(on && info.settings.enabled) {
            return Err(Refusal::RoomClosed);
        }
        self.session_for_comment(&entry, room, self.clock.now_ms()).await
    }

    /// Ends implicit sessions that were silent, or lasted, for too long. Forgets idle rooms beyond
    /// [`settings::Rooms::held_max`]. Called every few seconds.
    pub async fn sweep(&self) {
        let now_ms = self.clock.now_ms();
        let entries: Vec<_> = self.entries.iter().map(|entry| (entry.key().clone(), entry.value().clone())).collect();
        for (room, entry) in entries {
            if self.is_over(&entry, now_ms)
                && let Err(error) = self.end_if_over(&entry, &room, now_ms).await
            {
                tracing::warn!(room = room.as_str(), %error, "could not end a silent session; will retry");
            }
        }
        if self.entries.len() > self.rules.held_max {
            self.entries.retain(|_, entry| entry.info.load().session.is_some() || Arc::strong_count(entry) > 1);
        }
    }

    fn is_over(&self, entry: &RoomEntry, now_ms: i64) -> bool {
        let silent =
            now_ms - entry.last_comment_ms.load(Ordering::Relaxed) > i64::from(self.rules.session_silence_s) * 1_000;
        let info = entry.info.load();
        let implicit = info.session.as_ref().filter(|session| !session.explicit);
        implicit.is_some_and(|session| {
            silent || now_ms - session.started_at_ms > i64::from(self.rules.session_s_max) * 1_000
        })
    }

    /// Ends a session that looks over from here, unless it lives on another node: the store knows the comments of all
    /// nodes, as far as the room keeps them.
    async fn end_if_over(&self, entry: &RoomEntry, room: &RoomId, now_ms: i64) -> Result<(), ChangeError> {
        let _change = entry.change.lock().await;
        self.reload(entry, room).await?;
        let Some(session) = entry.info().session.clone() else { return Ok(()) };
        let newest_ms = self.store.newest_comment_ms(session.id).await?.unwrap_or(session.started_at_ms);
        entry.last_comment_ms.fetch_max(newest_ms, Ordering::Relaxed);
        if self.is_over(entry, now_ms) && self.end_session(entry, room, Some(session.id), false).await?.is_some() {
            self.publish_state(room, &entry.info()).await?;
        }
        Ok(())
    }

    /// Starts a session, or joins the one that another node has just started. The caller holds the room's lock and has
    /// seen that there is none. Announcing a session twice does no harm.
    async fn start_session(
        &self,
        entry: &RoomEntry,
        room: &RoomId,
        explicit: bool,
    ) -> Result<Arc<Session>, ChangeError> {
        let started_at_ms = self.clock.now_ms();
        let session =
            Session { id: self.ids.next()?, room_id: room.clone(), started_at_ms, ended_at_ms: None, explicit };
        let Some(session) = self.store.start_session(&session).await?.map(Arc::new) else {
            self.reload(entry, room).await?;
            return Err(ChangeError::Closed);
        };
        entry.unannounced.store(true, Ordering::Relaxed);
        self.log.append(room.clone(), Record::SessionStarted(session.clone())).await?;
        entry.unannounced.store(false, Ordering::Relaxed);
        let info = entry.info();
        let closed = info.closed && !explicit;
        entry.info.store(Arc::new(RoomInfo { session: Some(session.clone()), closed, ..(*info).clone() }));
        Ok(session)
    }

    /// Ends the current session, or `only` this one; `close` also closes the room. The caller holds the room's lock. Of
    /// several nodes that end a session at once one gets it, and announces its end.
    async fn end_session(
        &self,
        entry: &RoomEntry,
        room: &RoomId,
        only: Option<Snowflake>,
        close: bool,
    ) -> Result<Option<Arc<Session>>, ChangeError> {
        let ended = self.store.end_session(room, only, self.clock.now_ms(), close).await?.map(Arc::new);
        let record = match &ended {
            Some(session) => Record::SessionEnded(session.clone()),
            None if close => Record::Changed(Change::Room),
            // Another node ended it, and may have started the next one.
            None => return self.reload(entry, room).await.map(|()| None).map_err(Into::into),
        };
        let info = entry.info();
        entry.info.store(Arc::new(RoomInfo { session: None, closed: info.closed || close, ..(*info).clone() }));
        self.log.append(room.clone(), record).await?;
        Ok(ended)
    }
}
