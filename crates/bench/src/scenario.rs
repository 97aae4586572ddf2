//! Options → plan: who reads, who writes, which comment goes to which room. Pure.

use anyhow::{Context, ensure};
use recording::Recorded;

use crate::adapter::Adapter;
use crate::content::MARK_BYTES;
use crate::options::{Options, Preset, Protocol, Scenario, Transport};
use crate::pace::{Line, Load};

/// Colours mark the comments of a recording; there are so many of them.
const COLOURS: usize = 1 << 24;

/// What is to be done, every figure decided.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The scenario.
    pub scenario: Scenario,
    /// Who reads what.
    pub rooms: Rooms,
    /// Sockets beyond those of `rooms` that read slowly.
    pub slow: usize,
    /// What each of them reads a second, bytes.
    pub slow_bytes_per_s: usize,
    /// Sockets that write.
    pub senders: usize,
    /// What is said.
    pub load: Load,
    /// Seconds before measuring.
    pub warm_up_s: f64,
    /// Seconds measured.
    pub seconds: f64,
    /// Bytes of a comment's text.
    pub payload: usize,
    /// What is spoken.
    pub protocol: Protocol,
    /// Whether readers are sent compressed messages.
    pub deflate: bool,
    /// Seconds between heartbeats; 0 is none.
    pub heartbeat_s: f64,
    /// Of `chat`: members of a group, or two who write to each other. 0 elsewhere.
    pub party: usize,
}

impl Plan {
    /// How many sockets are to be given the `seq`-th comment or message.
    #[must_use]
    pub fn copies(&self, seq: u32) -> usize {
        // Whoever writes a message is given it as well.
        if self.party > 0 { self.party } else { self.rooms.members(self.rooms.of_comment(seq)) }
    }

    /// Groups that have to be founded before the first message.
    #[must_use]
    pub fn groups(&self) -> usize {
        if self.party > 2 { self.senders / self.party } else { 0 }
    }
}

/// How rooms are filled, and which of them a comment goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rooms {
    /// How many there are.
    pub count: usize,
    /// Sockets that read at their best.
    pub viewers: usize,
    /// Whether room 0 gets half of the viewers and half of the comments.
    pub hot: bool,
}

impl Rooms {
    /// The room of the `i`-th viewer.
    #[must_use]
    pub fn of_viewer(&self, i: usize) -> usize {
        if self.hot && self.count > 1 { half(i, self.count) } else { i % self.count }
    }

    /// The room of the `seq`-th comment.
    #[must_use]
    pub fn of_comment(&self, seq: u32) -> usize {
        self.of_viewer(seq as usize)
    }

    /// Viewers of a room.
    #[must_use]
    pub fn members(&self, room: usize) -> usize {
        let spread = |viewers: usize, room: usize, rooms: usize| viewers / rooms + usize::from(room < viewers % rooms);
        match (self.hot && self.count > 1, room) {
            (false, room) => spread(self.viewers, room, self.count),
            (true, 0) => self.viewers.div_ceil(2),
            (true, room) => spread(self.viewers / 2, room - 1, self.count - 1),
        }
    }
}

/// Every second to room 0, the others in turn to the rest.
fn half(i: usize, rooms: usize) -> usize {
    if i.is_multiple_of(2) { 0 } else { 1 + i / 2 % (rooms - 1) }
}

/// A room's id.
#[must_use]
pub fn room_id(room: usize) -> String {
    format!("bench-{room}")
}

/// What a scenario takes when nothing is said: sockets, comments a second, rooms, seconds.
fn defaults(scenario: Scenario, preset: Option<Preset>) -> (usize, f64, usize, f64) {
    match (scenario, preset) {
        (_, Some(Preset::Smoke)) => (50, 20.0, if scenario == Scenario::Rooms { 10 } else { 1 }, 1.0),
        (_, Some(Preset::Paced)) => (10_000, 10.0, 1, 10.0),
        (_, Some(Preset::Full)) => (1_000, 0.0, 1, 10.0),
        (_, Some(Preset::Million)) => (10_000, 100.0, 1, 10.0),
        (_, Some(Preset::Busy)) => (10_000, 1_000.0, 1, 10.0),
        (Scenario::Connect, None) => (10_000, 0.0, 1, 5.0),
        (Scenario::Idle, None) => (15_000, 0.0, 1, 60.0),
        (Scenario::Room | Scenario::Replay, None) => (10_000, 10.0, 1, 10.0),
        (Scenario::Slow, None) => (10_000, 50.0, 1, 20.0),
        (Scenario::Rooms, None) => (10_000, 1_000.0, 1_000, 10.0),
        // Bandwidth opens no sockets.
        (Scenario::Publish | Scenario::Bandwidth, None) => (0, 0.0, 1, 10.0),
        (Scenario::Mixed, None) => (10_000, 100.0, 500, 20.0),
        (Scenario::Reconnect, None) => (10_000, 10.0, 1, 20.0),
        (Scenario::Chat, None) => (1_000, 1_000.0, 1, 10.0),
    }
}

/// Decides every figure.
///
/// # Errors
/// When the flags contradict each other; says which.
pub fn plan(options: &Options, recording: Option<&[Recorded]>) -> anyhow::Result<Plan> {
    let scenario = options.scenario;
    let (sockets, rate, rooms, seconds) = defaults(scenario, options.preset);
    let sockets = options.sockets.unwrap_or(sockets);
    let rate = options.rate.unwrap_or(rate);
    let rooms = options.rooms.unwrap_or(rooms);
    let mut seconds = options.seconds.unwrap_or(seconds);
    ensure!(rooms > 0, "--rooms must be at least 1");
    ensure_spoken(options.adapter, scenario, rooms)?;
    ensure!((0.0..=10e6).contains(&rate), "--rate must be from 0 to 10 million a second");
    ensure!(seconds > 0.0 && options.warm_up >= 0.0, "--seconds and --warm-up must be positive");
    ensure!((MARK_BYTES..=4_000).contains(&options.payload), "--payload must be {MARK_BYTES}-4000 bytes");
    let slow = match scenario {
        Scenario::Slow | Scenario::Mixed => options.slow.unwrap_or(sockets / 100),
        _ => options.slow.unwrap_or(0),
    };
    ensure!(
        !options.deflate || options.adapter == Adapter::Barrage && options.floor.is_empty(),
        "only Barrage compresses: --deflate goes with no --adapter and no --floor"
    );
    ensure!(slow <= sockets, "--slow must be at most --sockets");
    ensure_carried(options, slow)?;
    let chat = scenario == Scenario::Chat;
    let viewers = if chat { 0 } else { sockets - slow };
    let rooms = Rooms { count: rooms, viewers, hot: scenario == Scenario::Mixed };
    let party = if chat { party(options.group, sockets)? } else { 0 };
    let mut warm_up_s = options.warm_up;
    let load = match scenario {
        Scenario::Replay => {
            let lines = lines(recording.context("replay needs a FILE of recorded comments")?, options.speed)?;
            seconds =
                options.seconds.unwrap_or_else(|| lines.last().map_or(1.0, |line| line.due_us as f64 / 1e6 + 0.1));
            warm_up_s = 0.0;
            Load::Recorded(lines.into())
        }
        Scenario::Connect | Scenario::Idle => Load::Silent,
        _ if rate > 0.0 => Load::Paced { per_s: rate },
        _ => Load::Closed { in_flight: options.in_flight.max(1) },
    };
    ensure!(
        rooms.hot.then_some(()).is_none() || !matches!(load, Load::Closed { .. }),
        "mixed needs a --rate: rooms of different sizes have no common limit"
    );
    let senders = match load {
        Load::Silent => 0,
        _ if chat => sockets,
        _ => options.senders.unwrap_or_else(|| senders(scenario, &load)),
    };
    ensure!(load == Load::Silent || senders > 0, "--senders must be at least 1");
    Ok(Plan {
        scenario,
        rooms,
        slow,
        slow_bytes_per_s: options.slow_bytes_per_s,
        senders,
        load,
        warm_up_s,
        seconds,
        payload: options.payload,
        protocol: options.protocol,
        deflate: options.deflate,
        heartbeat_s: options.heartbeat,
        party,
    })
}

/// How many a message concerns, its writer included.
fn party(group: usize, users: usize) -> anyhow::Result<usize> {
    ensure!(group == 0 || (3..=500).contains(&group), "--group must be from 3 to 500, or 0 for no groups");
    ensure!(users >= 3, "chat needs at least 3 --sockets");
    ensure!(group == 0 || users.is_multiple_of(group), "--sockets must be a multiple of --group");
    Ok(group.max(2))
}

/// WebTransport speaks two sub-protocols, compresses nothing, and has no kernel that reads for a slow program.
fn ensure_carried(options: &Options, slow: usize) -> anyhow::Result<()> {
    let quic = options.transport.iter().any(|transport| transport.is_quic());
    ensure!(options.transport.is_empty() || options.adapter == Adapter::Barrage, "--transport goes with no --adapter");
    ensure!(!quic || options.protocol != Protocol::Bin, "WebTransport speaks json or proto, not bin");
    ensure!(!quic || !options.deflate && slow == 0, "--transport wt goes with no --deflate and no slow sockets");
    let encrypted = !options.transport.is_empty() && !options.transport.contains(&Transport::Ws);
    ensure!(options.flood.is_none() || encrypted, "--flood needs --transport wss, wt or wt-datagrams");
    ensure!(
        options.move_to.is_none() || options.scenario == Scenario::Reconnect,
        "--move-to is for the scenario reconnect"
    );
    Ok(())
}

/// Others than Barrage have no cursors, no colours to mark recordings by, and most of them no answers.
fn ensure_spoken(adapter: Adapter, scenario: Scenario, rooms: usize) -> anyhow::Result<()> {
    use Scenario::{Connect, Idle, Room, Rooms, Slow};
    ensure!(
        adapter == Adapter::Barrage || matches!(scenario, Connect | Idle | Room | Rooms | Slow),
        "with --adapter only connect, idle, room, rooms and slow can be measured"
    );
    ensure!(adapter.names_rooms() || rooms == 1, "this adapter publishes into the room of its socket: use --rooms 1");
    Ok(())
}

/// As many as it takes for each to speak once a second, as users do. A socket's comments are answered one after
/// the other, each as soon as it is durable: fewer senders would measure how long that takes.
fn senders(scenario: Scenario, load: &Load) -> usize {
    match load {
        Load::Silent => 0,
        Load::Paced { per_s } => per_s.ceil().clamp(32.0, 2_000.0) as usize,
        Load::Closed { in_flight } if scenario == Scenario::Publish => (*in_flight).clamp(1, 2_000) as usize,
        Load::Closed { in_flight } => (*in_flight).clamp(16, 256) as usize,
        Load::Recorded(_) => 200,
    }
}

/// The recording's comments with the moments they are due, in microseconds from the start.
fn lines(recording: &[Recorded], speed: f64) -> anyhow::Result<Vec<Line>> {
    ensure!(speed > 0.0, "--speed must be above 0");
    ensure!(recording.len() < COLOURS, "a recording may have {COLOURS} comments");
    let first_ms = recording.first().context("the recording is empty")?.offset_ms;
    let line = |comment: &Recorded| Line {
        due_us: ((comment.offset_ms - first_ms) as f64 * 1_000.0 / speed) as u64,
        content: comment.content.clone(),
        mode: comment.style.mode,
        size: comment.style.size,
    };
    Ok(recording.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn members_are_those_who_are_put_there(count in 1..20_usize, viewers in 0..200_usize, hot in any::<bool>()) {
            let rooms = Rooms { count, viewers, hot };
            for room in 0..count {
                let there = (0..viewers).filter(|i| rooms.of_viewer(*i) == room).count();
                prop_assert_eq!(rooms.members(room), there);
            }
        }
    }

    #[test]
    fn a_message_concerns_a_pair_or_a_whole_group() {
        assert_eq!([party(0, 10).ok(), party(5, 10).ok(), party(500, 1_000).ok()], [Some(2), Some(5), Some(500)]);
        assert!([(2, 10), (501, 1_002), (4, 10), (0, 2)].iter().all(|(group, users)| party(*group, *users).is_err()));
    }
}
