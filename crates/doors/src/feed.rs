//! What one reader of one room is given, in order: comments, events, sanctions, changed settings, and the refusal that
//! ends it.
//!
//! A door asks [`Feed::open`] for each room that a connection reads, and then for the next thing, until it is refused. A
//! feed is a viewer of the room. It writes nothing.

use std::sync::Arc;

use api::Services;
use hub::batch::{SharedEvent, TapBatch};
use hub::{Opener, Sanction, Tap, TapMessage};
use ingest::{Reader, Refusal};
use model::{Identity, RoomId, RoomSettings, Snowflake, WireError};
use protocol::message::JoinRoom;
use tokio::sync::{broadcast, watch};

/// Who reads.
#[derive(Debug, Clone)]
pub(crate) enum Viewer {
    /// A verified identity.
    User(Identity),
    /// Somebody for whom the operator's back end vouched, without saying who it is.
    Vouched,
    /// Nobody.
    Anonymous,
}

impl Viewer {
    /// As the rules know them.
    pub fn reader(&self) -> Reader<'_> {
        match self {
            Self::User(who) => Reader::User(who),
            Self::Vouched => Reader::Vouched,
            Self::Anonymous => Reader::Anonymous,
        }
    }

    /// The identity, if there is one.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::User(who) => Some(who),
            Self::Vouched | Self::Anonymous => None,
        }
    }
}

/// What happens in a room.
pub(crate) enum Happening {
    /// Comments.
    Comments(Arc<TapBatch>),
    /// An event that everybody in the room is told.
    Event(Arc<SharedEvent>),
    /// Somebody was banned or muted by a moderator.
    Sanction(Sanction),
    /// The settings may have changed.
    Settings(Arc<RoomSettings>),
    /// The reader may read no longer.
    Refused(Refusal),
}

/// One reader's feed of one room.
pub(crate) struct Feed {
    app: Arc<Services>,
    viewer: Viewer,
    tap: Tap,
    sanctions: broadcast::Receiver<Sanction>,
    changes: watch::Receiver<()>,
    /// Where it resumes after it fell behind.
    last_id: Option<Snowflake>,
}

impl Feed {
    /// Joins a room from here on, without history.
    ///
    /// # Errors
    /// As the rules refuse the reader, or `overloaded`, `unavailable`.
    pub async fn open(app: &Arc<Services>, viewer: Viewer, room: RoomId) -> Result<Self, WireError> {
        app.ingest.may_read(viewer.reader(), &room).await?;
        let (sanctions, changes) = (app.hub.sanctions(), app.ingest.access_changes.subscribe());
        let tap = tap(app, &viewer, room, None).await?;
        Ok(Self { app: app.clone(), viewer, tap, sanctions, changes, last_id: None })
    }

    /// The room.
    pub fn room(&self) -> &RoomId {
        self.tap.room.id()
    }

    /// The next thing.
    pub async fn next(&mut self) -> Happening {
        loop {
            let room = self.tap.room.id().clone();
            tokio::select! {
                // First, so that nothing is given after a refusal.
                biased;
                refusal = self.app.ingest.until_refused(self.viewer.reader(), Some(&room)) => {
                    return Happening::Refused(refusal);
                }
                Ok(()) = self.changes.changed() => {
                    if let Ok(info) = self.app.ingest.rooms.info(&room).await {
                        return Happening::Settings(info.settings.clone());
                    }
                }
                sanction = self.sanctions.recv() => match sanction {
                    Ok(sanction) if sanction.holds_in(&room) => return Happening::Sanction(sanction),
                    // Others' sanctions; or so many at once that some are only shown by their effect.
                    Ok(_) | Err(_) => {}
                },
                message = self.tap.messages.recv() => match message {
                    Some(TapMessage::Comments(batch)) => {
                        self.last_id = batch.last_id().or(self.last_id);
                        return Happening::Comments(batch);
                    }
                    Some(TapMessage::Event(event)) => return Happening::Event(event),
                    None => if let Err(error) = self.resume(room).await {
                        return error;
                    }
                },
            }
        }
    }

    /// Reads on after the hub cut a feed that fell behind. What it missed is beyond the budget of a live reader.
    async fn resume(&mut self, room: RoomId) -> Result<(), Happening> {
        let since = self.last_id;
        self.tap =
            tap(&self.app, &self.viewer, room, since).await.map_err(|_| Happening::Refused(Refusal::Unavailable))?;
        Ok(())
    }
}

async fn tap(
    app: &Arc<Services>,
    viewer: &Viewer,
    room: RoomId,
    since_id: Option<Snowflake>,
) -> Result<Tap, WireError> {
    let moderates = app.ingest.sees_shadows(viewer.reader(), &room);
    let options = JoinRoom { since_id, history: Some(0), ..JoinRoom::plain(room) };
    let opener = Opener { user: viewer.identity().map(|who| who.user_id.clone()), address: None };
    app.hub.tap_as(&options, &opener, moderates).await
}
