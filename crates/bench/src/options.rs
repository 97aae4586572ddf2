//! The command line of `barrage bench`. The help texts are the doc comments.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use protocol::handshake::SubProtocol;
use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::generator::Part;

/// `bench`: drives a server with many sockets and says what each delivery costs and how long it takes.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// What is done to the server.
    #[arg(value_enum, default_value_t = Scenario::Room)]
    pub scenario: Scenario,
    /// For `replay` and `bandwidth`: recorded comments (XML with `<d p="time,mode,size,colour,…">text</d>`).
    pub file: Option<PathBuf>,
    /// For `bandwidth`: more of them.
    pub more: Vec<PathBuf>,
    /// Measures the figures that `barrage plan --calibration FILE` takes, in less than 40 seconds, and writes them to --out,
    /// a file, or prints them.
    #[arg(long, conflicts_with_all = ["preset", "search", "server", "start", "floor", "adapter"])]
    pub calibrate: bool,
    /// Named figures for the scenario, which the flags beside it change.
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,

    /// Sockets that read.
    #[arg(long, value_name = "N")]
    pub sockets: Option<usize>,
    /// Comments a second, all rooms together; 0 is as fast as it goes, with --in-flight comments on their way.
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Comments on their way at --rate 0.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub in_flight: u64,
    /// Rooms that the sockets are spread over.
    #[arg(long, value_name = "N")]
    pub rooms: Option<usize>,
    /// Sockets that write, each a user.
    #[arg(long, value_name = "N")]
    pub senders: Option<usize>,
    /// Seconds measured.
    #[arg(long, value_name = "S")]
    pub seconds: Option<f64>,
    /// Seconds before that, under the same load.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub warm_up: f64,
    /// Bytes of a comment's text, at least 21.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub payload: usize,
    /// What the reading sockets speak; for `publish`, the writing ones.
    #[arg(long, value_enum, default_value_t = Protocol::Json)]
    pub protocol: Protocol,
    /// What carries them. Several are measured one after the other and compared, each on a server of its own unless --server
    /// names one. With all but `ws`, the writing sockets use TLS.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "TRANSPORT")]
    pub transport: Vec<Transport>,
    /// The reading sockets offer compression (permessage-deflate), and insist on it.
    #[arg(long)]
    pub deflate: bool,
    /// Seconds between a socket's heartbeats; 0 sends none.
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub heartbeat: f64,
    /// For `slow`, `mixed`: sockets that read slowly; every second of them not at all.
    #[arg(long, value_name = "N")]
    pub slow: Option<usize>,
    /// What a slow socket reads a second.
    #[arg(long, value_name = "BYTES", default_value_t = 2_048)]
    pub slow_bytes_per_s: usize,
    /// For `chat`: members of each group; 0 is messages from one user to one other.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub group: usize,
    /// For `reconnect`: the sockets change to this address of this host instead of being cut off. WebTransport goes on,
    /// others connect anew.
    #[arg(long, value_name = "ADDRESS")]
    pub move_to: Option<Ipv4Addr>,
    /// Measures twice: alone, then beside a stranger who sends so many first packets of QUIC a second and never goes on.
    #[arg(long, value_name = "N", conflicts_with_all = ["server", "start", "search"])]
    pub flood: Option<u32>,
    /// For `replay`: how many times faster than recorded.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub speed: f64,

    /// Finds the highest --rate at which p99 and loss hold, instead of measuring one.
    #[arg(long)]
    pub search: bool,
    /// For --search: what p99, publish to socket, may be.
    #[arg(long, value_name = "MS", default_value_t = 100.0)]
    pub p99_ms: f64,
    /// For --search: the share of offered deliveries that may not arrive.
    #[arg(long, value_name = "SHARE", default_value_t = 0.001)]
    pub loss: f64,

    /// What the server speaks: Barrage's protocol, or a rival's.
    #[arg(long, value_enum, default_value_t = Adapter::Barrage)]
    pub adapter: Adapter,
    /// A running server, such as http://127.0.0.1:8080 or https://127.0.0.1:8443 (its certificate is not verified); without it one is started for the purpose. May be given
    /// again: sockets are spread over all of them.
    #[arg(long, value_name = "URL")]
    pub server: Vec<String>,
    /// Where to publish, when it is not where the sockets are.
    #[arg(long, value_name = "URL")]
    pub publish_to: Option<String>,
    /// A command that starts the server to measure, on the server's CPUs: it listens on 127.0.0.1:$PORT (and takes
    /// comments on $PUBLISH_PORT where that is another), believes $SECRET, and may write into $DIR.
    #[arg(long, value_name = "COMMAND", conflicts_with = "server")]
    pub start: Option<String>,
    /// What the report calls the server of --server or --start.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// With --server: the secret its tokens are signed with.
    #[arg(long, value_name = "SECRET", env = "BARRAGE__AUTH__HMAC_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// With --server: its data directory, to read the secret from.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// With --server on this host: its process, to read CPU and memory from, its children included. May be given again.
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// A setting of the server that is started, such as rooms.window_ms_max=100; may be given again.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// The server that is started speaks TLS 1.3, and each socket shakes hands in full or resumes where it can. With another
    /// server, or with --transport: how the sockets shake hands.
    #[arg(long, value_enum, conflicts_with_all = ["no_store", "start"])]
    pub tls: Option<Handshakes>,
    /// Rooms that keep nothing: comments are delivered and never stored.
    #[arg(long)]
    pub no_store: bool,
    /// CPUs of the server that is started, such as 0 or 0-3,8; by default the first half of them.
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    pub server_cpus: Option<CpuList>,
    /// CPUs of the generator; by default the others.
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    pub generator_cpus: Option<CpuList>,
    /// Processes of the generator; by default one for every 19,000 sockets.
    #[arg(long, value_name = "N")]
    pub generators: Option<usize>,
    /// Threads that read in each; by default one for each CPU of the generator.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Measures the floor first: a server that does nothing but send the same frames. `message` sends each
    /// comment by itself, a number is a tick in milliseconds after which all that waits leaves in one send.
    #[arg(long, value_name = "message|MS", value_delimiter = ',', value_parser = floor)]
    pub floor: Vec<Floor>,
    /// Measures the floor and nothing else.
    #[arg(long, requires = "floor")]
    pub only_floor: bool,
    /// Writes report.json, samples.csv, rounds.csv and report.html there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Is one of several generators: obeys its standard input.
    #[arg(long, hide = true, value_name = "INDEX/COUNT")]
    pub as_generator: Option<Part>,
    /// Is the floor: serves until its standard input ends.
    #[arg(long, hide = true, value_parser = floor)]
    pub serve_floor: Option<Floor>,
}

/// What a viewer is given a second unless asked otherwise (`rooms.viewer_per_s_max`).
const BUDGET: (&str, &str) = ("BARRAGE__ROOMS__VIEWER_PER_S_MAX", "200");

impl Options {
    /// Settings of a Barrage that is started: the preset's, then those asked for.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, String)> {
        let busy = self.preset == Some(Preset::Busy);
        let preset = busy.then(|| (BUDGET.0.to_owned(), BUDGET.1.to_owned()));
        preset.into_iter().chain(self.settings.iter().cloned()).collect()
    }
}

/// What is done to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Bytes and CPU per comment in every form a socket can read: recorded comments through the server's encoders.
    Bandwidth,
    /// All sockets connect at once: handshakes a second, CPU and memory for each.
    Connect,
    /// Sockets that do nothing but live: memory, and the CPU of their heartbeats.
    Idle,
    /// One hot room: every comment to every socket.
    Room,
    /// Many small rooms.
    Rooms,
    /// One hot room in which some read slowly or not at all.
    Slow,
    /// The way in: many senders, nobody reads.
    Publish,
    /// Half of the sockets in one hot room, the others in small ones, some of them slow.
    Mixed,
    /// All sockets of a hot room are cut off at once and come back with their last id.
    Reconnect,
    /// Recorded comments into a hot room, at their own pace.
    Replay,
    /// Private messages between users, or with --group among the members of groups.
    Chat,
}

/// Named figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// 50 sockets for a second: does it work at all.
    Smoke,
    /// 10,000 sockets, 10 comments a second: 100,000 deliveries a second.
    Paced,
    /// 1,000 sockets, as fast as it goes.
    Full,
    /// 10,000 sockets, 100 comments a second: a million deliveries a second.
    Million,
    /// 10,000 sockets, 1,000 comments a second; each viewer is given at most 200 of them, as by default.
    Busy,
}

/// A sub-protocol of the reading sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// `barrage.v1.json`
    Json,
    /// `barrage.v1.proto`
    Proto,
    /// `barrage.v1.bin`
    Bin,
}

impl Protocol {
    /// As the server knows it.
    #[must_use]
    pub fn spoken(self) -> SubProtocol {
        match self {
            Self::Json => SubProtocol::Json,
            Self::Proto => SubProtocol::Proto,
            Self::Bin => SubProtocol::Bin,
        }
    }
}

/// What carries a socket's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Transport {
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// WebTransport, everything on its stream.
    Wt,
    /// WebTransport, batches by datagram.
    WtDatagrams,
}

impl Transport {
    /// Whether it is a session over QUIC.
    #[must_use]
    pub fn is_quic(self) -> bool {
        matches!(self, Self::Wt | Self::WtDatagrams)
    }
}

/// How sockets with TLS begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum Handshakes {
    /// With a key exchange and a signature each.
    Full,
    /// With the ticket of an earlier one, where there is one.
    Resumed,
}

/// How the floor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// One send for each comment and socket.
    Message,
    /// One send for each socket after so many milliseconds, with all comments of that time.
    Tick(u64),
}

/// CPUs by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuList(pub Vec<usize>);

impl std::fmt::Display for CpuList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

impl std::fmt::Display for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message => f.write_str("message"),
            Self::Tick(ms) => ms.fmt(f),
        }
    }
}

fn floor(text: &str) -> Result<Floor, String> {
    match (text, text.parse()) {
        ("message", _) => Ok(Floor::Message),
        (_, Ok(ms @ 1..=10_000)) => Ok(Floor::Tick(ms)),
        _ => Err("expected message, or milliseconds from 1 to 10000".into()),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    let (section, name) = key.split_once('.').ok_or("expected a key such as rooms.window_ms_max")?;
    Ok((format!("BARRAGE__{}__{}", section.to_uppercase(), name.to_uppercase()), value.to_owned()))
}

fn cpus(text: &str) -> Result<CpuList, String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is no CPU number"));
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= libc::CPU_SETSIZE as usize {
            return Err(format!("{part:?} is no range of CPUs"));
        }
        list.extend(first..=last);
    }
    Ok(CpuList(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_numbers_and_ranges() {
        assert_eq!(cpus("0-2,8"), Ok(CpuList(vec![0, 1, 2, 8])));
        for wrong in ["", "a", "3-1", "0-99999"] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_become_variables() {
        let expected = ("BARRAGE__ROOMS__WINDOW_MS_MAX".to_owned(), "100".to_owned());
        assert_eq!(setting("rooms.window_ms_max=100"), Ok(expected));
        assert!(setting("rooms.window_ms_max").is_err() && setting("window=1").is_err());
    }

    #[test]
    fn the_floor_sends_by_message_or_by_tick() {
        assert_eq!((floor("message"), floor("100")), (Ok(Floor::Message), Ok(Floor::Tick(100))));
        assert!(floor("0").is_err() && floor("often").is_err());
    }
}
