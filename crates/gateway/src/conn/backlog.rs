//! What a slow socket has not taken yet: whole frames, shared with all other sockets that get them.
//!
//! A connection makes one when its socket would block, and drops it when the socket has caught up; a healthy socket has none.
//! It is bounded by bytes, beyond the frame that is partly written, and by time. Over the budget, or when comments have
//! waited [`STALE_S`], it skips all comments that are not started, so that the viewer continues with the latest. It counts
//! what it skips per room. Events and answers are never skipped, and no frame is ever torn. Knows no socket: it writes to
//! any [`Write`].

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::Bytes;
use model::RoomId;

use crate::handover::{ParkedBacklog, ParkedPiece};

/// Pieces of one vectored write.
const SLICES_MAX: usize = 16;
/// After this long comments are of no use to a live viewer, in seconds.
const STALE_S: u32 = 5;
/// Space kept for the notice of what was skipped.
const NOTICE_BYTES: usize = 256;

/// One or more whole frames.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub bytes: Bytes,
    /// Present when the piece holds comments and may be skipped.
    pub comments: Option<Skippable>,
}

/// What the viewer misses when a piece of comments is skipped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Skippable {
    /// The room's key.
    pub room: u32,
    /// Comments in it, plus those it reports as omitted.
    pub missed: u64,
    /// The tick at which they were due.
    pub at: u32,
}

/// A piece that may not be skipped does not fit: the socket is too slow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overflow {
    /// Comments skipped in the attempt.
    pub skipped: u64,
}

#[derive(Debug)]
pub(crate) struct Backlog {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece already written.
    sent: usize,
    /// Bytes not written yet.
    bytes: usize,
    missed: Vec<(u32, u64)>,
    /// The tick at which skipped comments were last reported.
    reported_at: u32,
    /// The tick at which the peer last took something.
    pub progress_at: u32,
    /// Bytes that the peer had not acknowledged then.
    unacknowledged: u32,
}

impl Backlog {
    /// The backlog of a peer that has not acknowledged this many of the bytes written.
    pub fn new(now: u32, unacknowledged: u32) -> Self {
        let (pieces, missed) = (VecDeque::new(), Vec::new());
        Self { pieces, sent: 0, bytes: 0, missed, reported_at: now, progress_at: now, unacknowledged }
    }

    /// What waits, so that another process can continue: the bytes of the pieces one behind the other, and what they are.
    /// `room_of` names a room by its key.
    pub fn park(self, room_of: impl Fn(u32) -> Option<RoomId>) -> (ParkedBacklog, Vec<u8>) {
        let mut bytes = Vec::with_capacity(self.bytes + self.sent);
        let pieces = self.pieces.iter().map(|piece| {
            bytes.extend_from_slice(&piece.bytes);
            let comments = piece.comments.and_then(|comments| Some((room_of(comments.room)?, comments.missed)));
            ParkedPiece { bytes: piece.bytes.len(), comments }
        });
        let pieces = pieces.collect();
        let missed = self.missed.iter().filter_map(|(room, missed)| Some((room_of(*room)?, *missed))).collect();
        (ParkedBacklog { pieces, sent: self.sent, missed }, bytes)
    }

    /// The backlog that another process parked. The peer's patience begins anew.
    pub fn unpark(
        parked: ParkedBacklog,
        mut bytes: Bytes,
        (now, unacknowledged): (u32, u32),
        key_of: impl Fn(&RoomId) -> Option<u32>,
    ) -> Self {
        let mut backlog = Self::new(now, unacknowledged);
        for ParkedPiece { bytes: len, comments } in parked.pieces {
            let comments =
                comments.and_then(|(room, missed)| Some(Skippable { room: key_of(&room)?, missed, at: now }));
            backlog.bytes += len.min(bytes.len());
            backlog.pieces.push_back(Piece { bytes: bytes.split_to(len.min(bytes.len())), comments });
        }
        backlog.sent = parked.sent.min(backlog.pieces.front().map_or(0, |piece| piece.bytes.len()));
        backlog.bytes -= backlog.sent;
        backlog.missed = parked.missed.iter().filter_map(|(room, missed)| Some((key_of(room)?, *missed))).collect();
        backlog
    }

    /// Notes progress: bytes were just written or acknowledged.
    pub fn made_progress(&mut self, now: u32, unacknowledged: u32) {
        (self.progress_at, self.unacknowledged) = (now, unacknowledged);
    }

    /// Whether the peer has acknowledged bytes since the last progress.
    pub fn check_progress(&mut self, now: u32, unacknowledged: u32) -> bool {
        let progressed = unacknowledged < self.unacknowledged;
        if progressed {
            self.made_progress(now, unacknowledged);
        }
        progressed
    }

    /// Bytes not written yet.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Of these, bytes that may not be skipped.
    pub fn unskippable_bytes(&self) -> usize {
        let unskippable = self.pieces.iter().filter(|piece| piece.comments.is_none());
        unskippable.map(|piece| piece.bytes.len()).sum()
    }

    /// Queues a piece of which `sent` bytes are written already. A started piece is always accepted.
    pub fn push_started(&mut self, piece: Piece, sent: usize) {
        debug_assert!(self.pieces.is_empty());
        self.bytes += piece.bytes.len() - sent;
        self.sent = sent;
        self.pieces.push_back(piece);
    }

    /// Whether this many bytes more fit into the budget. A started piece does not count: it must be finished anyway.
    fn fits(&self, bytes: usize, budget: usize) -> bool {
        let begun =
            if self.sent > 0 { self.pieces.front().map_or(0, |piece| piece.bytes.len() - self.sent) } else { 0 };
        self.bytes - begun + bytes <= budget
    }

    fn is_stale(&self, now: u32) -> bool {
        let waiting = self.pieces.iter().skip(usize::from(self.sent > 0));
        let oldest = waiting.filter_map(|piece| piece.comments).next();
        oldest.is_some_and(|comments| now >= comments.at + STALE_S)
    }

    /// Queues a piece, skipping comments when the budget is spent or they are stale; returns how many were skipped.
    pub fn push(&mut self, piece: Piece, budget: usize, now: u32) -> Result<u64, Overflow> {
        let mut skipped = 0;
        if !self.fits(piece.bytes.len(), budget) || self.is_stale(now) {
            skipped = self.skip();
        }
        match piece.comments {
            _ if self.fits(piece.bytes.len(), budget) => {
                self.bytes += piece.bytes.len();
                self.pieces.push_back(piece);
            }
            Some(comments) => skipped += self.count_missed(comments),
            None => return Err(Overflow { skipped }),
        }
        Ok(skipped)
    }

    /// Drops every comment frame that is not started.
    fn skip(&mut self) -> u64 {
        let started = if self.sent > 0 { self.pieces.pop_front() } else { None };
        let mut skipped = 0;
        let mut kept = VecDeque::from_iter(started);
        for piece in std::mem::take(&mut self.pieces) {
            match piece.comments {
                Some(comments) => {
                    self.bytes -= piece.bytes.len();
                    skipped += self.count_missed(comments);
                }
                None => kept.push_back(piece),
            }
        }
        self.pieces = kept;
        skipped
    }

    fn count_missed(&mut self, comments: Skippable) -> u64 {
        match self.missed.iter_mut().find(|(room, _)| *room == comments.room) {
            Some((_, missed)) => *missed += comments.missed,
            None => self.missed.push((comments.room, comments.missed)),
        }
        comments.missed
    }

    /// Drops everything that is not started: only a close follows.
    pub fn clear_unstarted(&mut self) {
        let started = usize::from(self.sent > 0);
        self.pieces.truncate(started);
        self.bytes = self.pieces.front().map_or(0, |piece| piece.bytes.len() - self.sent);
        self.missed.clear();
    }

    /// What was skipped and may be reported now: at most once a tick, and only if the notice fits.
    pub fn missed_to_report(&mut self, budget: usize, now: u32) -> Vec<(u32, u64)> {
        if now == self.reported_at || !self.fits(NOTICE_BYTES, budget) {
            return Vec::new();
        }
        self.reported_at = now;
        self.drain_missed()
    }

    /// What was skipped since the last call, per room.
    pub fn drain_missed(&mut self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.missed)
    }

    /// Writes until everything is written or `socket` would block. Returns the bytes written.
    pub fn write_to(&mut self, socket: &mut impl Write) -> io::Result<usize> {
        let mut written = 0;
        while self.bytes > 0 {
            match self.write_some(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.advance(n);
                    written += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn write_some(&self, socket: &mut impl Write) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut sent = self.sent;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.bytes.get(std::mem::take(&mut sent)..).unwrap_or_default());
        }
        let used = self.pieces.len().min(SLICES_MAX);
        socket.write_vectored(slices.get(..used).unwrap_or_default())
    }

    fn advance(&mut self, mut n: usize) {
        self.bytes = self.bytes.saturating_sub(n);
        while let Some(piece) = self.pieces.front() {
            let left = piece.bytes.len() - self.sent;
            if n < left {
                self.sent += n;
                return;
            }
            n -= left;
            self.sent = 0;
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A socket that takes `room` bytes and then would block, at most `bite` at a time.
    #[derive(Default)]
    struct Socket {
        out: Vec<u8>,
        room: usize,
        bite: usize,
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room).min(self.bite.max(1));
            if n == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.out.extend_from_slice(&bytes[..n]);
            self.room -= n;
            Ok(n)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.write(&slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<_>>())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A frame that names itself: length, number, filling.
    fn piece(number: u16, filling: usize, comments: bool) -> Piece {
        let len = (4 + filling) as u16;
        let bytes = [&len.to_be_bytes()[..], &number.to_be_bytes(), &vec![number as u8; filling]].concat();
        let comments =
            comments.then_some(Skippable { room: u32::from(number % 3), missed: 1 + u64::from(number), at: 0 });
        Piece { bytes: bytes.into(), comments }
    }

    /// The numbers of the frames in a stream; panics when one is torn.
    fn numbers(mut bytes: &[u8]) -> Vec<u16> {
        let mut numbers = Vec::new();
        while !bytes.is_empty() {
            let len = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            let number = u16::from_be_bytes([bytes[2], bytes[3]]);
            assert!(bytes[4..len].iter().all(|b| *b == number as u8), "a torn frame");
            numbers.push(number);
            bytes = &bytes[len..];
        }
        numbers
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push { filling: usize, comments: bool },
        Write { room: usize, bite: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0usize..60, prop::bool::weighted(0.7)).prop_map(|(filling, comments)| Step::Push { filling, comments }),
            2 => (0usize..150, 1usize..40).prop_map(|(room, bite)| Step::Write { room, bite }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        /// Whatever is pushed and however little the socket takes at a time: frames leave whole, in order, once;
        /// those missing are comments, and counted; the budget holds.
        #[test]
        fn no_frame_is_torn_lost_or_doubled(
            first in (1usize..40, any::<bool>(), any::<prop::sample::Index>()),
            steps in prop::collection::vec(step(), 0..80),
        ) {
            const BUDGET: usize = 200;
            let mut socket = Socket::default();
            let mut backlog = Backlog::new(0, 0);
            let (filling, comments, sent) = first;
            let begun = piece(0, filling, comments);
            let sent = sent.index(begun.bytes.len());
            socket.out.extend_from_slice(&begun.bytes[..sent]);
            let mut pushed = vec![comments];
            let mut refused = Vec::new();
            let mut skipped = 0;
            backlog.push_started(begun, sent);
            for step in steps {
                match step {
                    Step::Push { filling, comments } => {
                        let number = pushed.len() as u16;
                        pushed.push(comments);
                        match backlog.push(piece(number, filling, comments), BUDGET, 0) {
                            Ok(missed) => skipped += missed,
                            Err(Overflow { skipped: missed }) => {
                                skipped += missed;
                                refused.push(number);
                            }
                        }
                        prop_assert!(backlog.fits(0, BUDGET));
                    }
                    Step::Write { room, bite } => {
                        (socket.room, socket.bite) = (room, bite);
                        let before = socket.out.len();
                        let written = backlog.write_to(&mut socket).expect("no error but would-block");
                        prop_assert_eq!(socket.out.len() - before, written);
                    }
                }
            }
            (socket.room, socket.bite) = (usize::MAX, 1);
            backlog.write_to(&mut socket).expect("no error");
            prop_assert_eq!(backlog.bytes(), 0);
            let written = numbers(&socket.out);
            prop_assert!(written.is_sorted_by(|a, b| a < b));
            let lost: Vec<u16> = (0..pushed.len() as u16).filter(|n| !written.contains(n) && !refused.contains(n)).collect();
            prop_assert!(lost.iter().all(|n| pushed[usize::from(*n)]), "something that may not be skipped is gone");
            prop_assert!(refused.iter().all(|n| !pushed[usize::from(*n)]), "comments are skipped, never refused");
            let reported: u64 = backlog.drain_missed().into_iter().map(|(_, missed)| missed).sum();
            prop_assert_eq!(reported, lost.iter().map(|n| 1 + u64::from(*n)).sum::<u64>());
            prop_assert_eq!(reported, skipped);
        }
    }

    #[test]
    fn before_a_close_only_the_started_frame_is_left() {
        let mut backlog = Backlog::new(0, 0);
        backlog.push_started(piece(0, 10, true), 5);
        backlog.push(piece(1, 10, true), 1_000, 0).expect("room");
        backlog.push(piece(2, 10, false), 1_000, 0).expect("room");
        backlog.clear_unstarted();
        backlog.push(piece(3, 0, false), usize::MAX, 0).expect("room");
        let mut socket = Socket { out: piece(0, 10, true).bytes[..5].to_vec(), room: usize::MAX, bite: usize::MAX };
        backlog.write_to(&mut socket).expect("no error");
        assert_eq!(numbers(&socket.out), [0, 3]);
    }

    #[test]
    fn an_event_finds_room_behind_a_batch_larger_than_the_budget() {
        let mut backlog = Backlog::new(0, 0);
        backlog.push_started(piece(0, 1_000, true), 5);
        assert_eq!(backlog.push(piece(1, 10, false), 100, 0), Ok(0));
    }

    #[test]
    fn what_is_stale_makes_way_and_is_reported() {
        let mut backlog = Backlog::new(0, 0);
        backlog.push_started(piece(0, 10, true), 5);
        assert_eq!(backlog.push(piece(1, 10, true), 1_000, 0), Ok(0));
        assert_eq!(backlog.push(piece(2, 10, true), 1_000, STALE_S - 1), Ok(0));
        assert_eq!(backlog.push(piece(3, 10, true), 1_000, STALE_S), Ok(2 + 3));
        assert_eq!(backlog.missed_to_report(1_000, STALE_S), [(1, 2), (2, 3)]);
        assert_eq!(backlog.missed_to_report(1_000, STALE_S + 1), []);
    }

    #[test]
    fn only_a_peer_that_acknowledges_takes_something() {
        let mut backlog = Backlog::new(0, 50);
        assert!(!backlog.check_progress(3, 50));
        assert!(backlog.check_progress(4, 49));
        assert!(!backlog.check_progress(9, 49));
        assert_eq!(backlog.progress_at, 4);
    }
}
