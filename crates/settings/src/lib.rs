//! Every setting: its section, name, type, default, meaning, and the values it takes.
//!
//! This is the one place to add or change a key. Whoever uses a key takes its section as it is here. The server loads files
//! and the environment, checks them against this table, and prints the manual from it (`barrage default-config`). Rules
//! between two keys, and checks that need another crate, are in the server's `config::rules`. Reads no file and no
//! environment.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A section of the file.
pub struct Section {
    /// As in the file; with a dot for a table in another section.
    pub name: &'static str,
    /// Its settings, in the manual's order.
    pub keys: &'static [Key],
    /// Whether what it configures is off until the file or the environment names the section.
    pub is_optional: bool,
}

impl Section {
    /// Every key with its default.
    pub fn defaults(&self) -> Table {
        self.keys.iter().map(|key| (key.name.into(), (key.default)())).collect()
    }
}

/// One setting.
pub struct Key {
    /// As in the file.
    pub name: &'static str,
    /// Lines of the manual.
    pub doc: &'static [&'static str],
    /// The value when nobody sets another; its type is the key's.
    pub default: fn() -> Value,
    /// Which values it takes.
    pub takes: Takes,
}

/// The values that a key takes, beyond its type.
pub enum Takes {
    /// All of its type.
    Any,
    /// Numbers in a range; one that ends with [`MAX`] has no upper bound.
    In(RangeInclusive<i64>),
    /// A string, or each of a list, that passes a check; and what the error asks for.
    Text(fn(&str) -> bool, &'static str),
}

use Takes::{In, Text};

/// What one character takes in JSON at most: two escaped surrogates.
pub const ESCAPED_BYTES: usize = 12;
/// What a comment or message has beside its text: ids, mentions, style.
pub const ENVELOPE_BYTES: usize = 2_048;

/// No upper bound but that of the type.
pub const MAX: i64 = i64::MAX;

/// `[section] Struct { /// lines of the manual  key: type = default, Takes; }`, and after all of these the optional ones,
/// `optional ["section.table"] field: Struct { … }`.
macro_rules! settings {
    ($([$section:ident] $struct:ident { $($body:tt)+ })+
     $(optional [$name:literal] $field:ident: $optional:ident { $($optional_body:tt)+ })*) => {
        /// The whole configuration.
        #[derive(Debug, Clone, Deserialize)]
        pub struct Config {
            $(
                #[doc = concat!("`[", stringify!($section), "]`")]
                pub $section: $struct,
            )+
            $(
                #[doc = concat!("`[", $name, "]`, if it is there.")]
                #[serde(rename = $name, default)]
                pub $field: Option<$optional>,
            )*
        }
        $(settings!(@struct concat!("`[", stringify!($section), "]`"), $struct { $($body)+ });)+
        $(settings!(@struct concat!("`[", $name, "]`"), $optional { $($optional_body)+ });)*
        /// Every section, in the manual's order.
        pub const SECTIONS: &[Section] = &[
            $(Section {
                name: stringify!($section),
                keys: settings!(@keys $($body)+),
                is_optional: false,
            },)+
            $(Section {
                name: $name,
                keys: settings!(@keys $($optional_body)+),
                is_optional: true,
            },)*
        ];
    };
    (@struct $doc:expr, $struct:ident {
        $($(#[doc = $lines:literal])* $key:ident: $type:ty = $default:expr $(, $takes:expr)?;)+
    }) => {
        #[doc = $doc]
        #[allow(missing_docs, reason = "a key may share the lines of the one before")]
        #[derive(Debug, Clone, Deserialize)]
        pub struct $struct {
            $($(#[doc = $lines])* pub $key: $type,)+
        }

        impl Default for $struct {
            fn default() -> Self {
                const KEYS: &[Key] = settings!(@keys $($key: $type = $default $(, $takes)?;)+);
                default_of(KEYS)
            }
        }
    };
    (@keys $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr $(, $takes:expr)?;)+) => {
        &[$(Key {
            name: stringify!($key),
            doc: &[$($doc),*],
            default: || Value::from($default),
            takes: settings!(@takes $($takes)?),
        }),+]
    };
    (@takes) => { Takes::Any };
    (@takes $takes:expr) => { $takes };
}

/// The head of the manual.
pub const HEAD: &str = "\
# Barrage: every setting with its default. `barrage default-config` prints this file, and the program has it built in. A file
# given with `serve --config FILE` needs only what it changes.
#
# The environment sets a key as BARRAGE__SECTION__KEY, for example BARRAGE__LIMITS__ROOM_PER_S=2000; commas separate the
# items of a list there. The environment wins over the file. An unknown key, a wrong type or a value out of range is an error
# that names the key and its line. `barrage check-config FILE` checks a file without starting anything.
#
# Units are the ends of names: _s seconds, _ms milliseconds, _days days, _bytes bytes, _chars characters, _per_s a second.
# _max is an upper bound.
";

settings! {
    [server] Server {
        /// Address and port for everything: HTTP, sockets, pages. The default is loopback, so nothing is reachable from
        /// outside until somebody decides so. `serve --listen` wins.
        listen: String = "127.0.0.1:8080", Text(is_socket_address, "an address and port, such as 127.0.0.1:8080");
        /// Whether to accept WebTransport, too, at `/wt` over QUIC. It needs a certificate ([tls], or `serve --tls-self-signed`).
        quic: bool = false;
        /// The UDP address of WebTransport. Empty: the address of listen, which is what browsers expect of a page's server.
        quic_listen: String = "", Text(is_socket_address_or_empty, "an address and port, such as 0.0.0.0:443, or empty");
        /// Directory of the database and the generated secret; created when it is missing. One running server per
        /// directory: a second one refuses to start. `serve --data` wins.
        data: PathBuf = "./data";
        /// This node's number in the ids it makes, 0 to 1023. It has no effect when redis.url is set: then each node leases a
        /// number that no other node has.
        node_id: u16 = 0, In(0..=model::snowflake::NODE_MAX as i64);
        /// First part of the node's name ("barrage-0") and of every key, topic and object in shared systems. All nodes of a
        /// deployment have the same namespace. A process that is alone shares nothing.
        namespace: String = "barrage", Text(is_id, "1-64 characters of A-Z a-z 0-9 _ - . : @");
        /// Threads that hold sockets, 1 to 128; 0 is one per core. Memory and the cost of a batch grow with the number of
        /// threads, so more of them than cores gain nothing.
        shards: usize = 0, In(0..=128);
        /// On SIGTERM: the longest time until the process has ended, 1 to 10.
        drain_s_max: u64 = 10, In(1..=10);
    }
    [auth] Auth {
        /// Shared secret of HS256 tokens, at least 16 bytes. Empty: the first start generates one, keeps it in the data
        /// directory as `secret`, and `barrage token` reads it there.
        hmac_secret: String = "", Text(|text| text.is_empty() || text.len() >= 16, "at least 16 bytes, or empty");
        /// A public key in PEM (RSA, P-256 or Ed25519), for tokens that another service signs. Empty: none. A changed key
        /// takes effect within seconds.
        public_key_file: PathBuf = "";
        /// Several public keys as a JWKS document (RFC 7517). Empty: none.
        jwks_file: PathBuf = "";
        /// Bearer of the admin API, at least 16 bytes. Empty: there is no admin key, and only tokens that may moderate a room
        /// get in. Better set in the environment than in a file.
        admin_key: String = "", Text(|text| text.is_empty() || text.len() >= 16, "at least 16 bytes, or empty");
        /// Whether rooms that are not private can be read without a token. Writing always needs one.
        anonymous_read: bool = false;
        /// Sites whose pages may use this server from a browser, such as "https://live.example.org". Pages that this server
        /// serves itself always may. Programs send no Origin and are not checked. "https://*.example.org" admits every
        /// subdomain, "*" every site.
        origins: Vec<String> = NONE;
    }
    [limits] Limits {
        /// Characters of one comment, 1 to 2000; longer ones are refused. A room may have its own.
        comment_chars_max: u32 = 200, In(1..=2_000);
        /// Bytes of one message from a socket; a longer one closes the socket with 1009. At least 2048 and four times
        /// comment_chars_max: a character takes up to four bytes. One that is escaped (\uXXXX) counts as if it were not.
        message_bytes_max: usize = 16_384, In(256..=1 << 20);
        /// Bytes of one HTTP request's body. At least 2048 and twelve times comment_chars_max: a character that is escaped
        /// takes up to twelve bytes. Word lists are the longest.
        body_bytes_max: usize = 65_536, In(1_024..=1 << 24);
        /// Comments a second of one normal user, in all rooms together. The burst is one second's worth. A room may have its
        /// own.
        normal_per_s: u32 = 1, In(1..=MAX);
        /// The same for a VIP.
        vip_per_s: u32 = 5, In(1..=MAX);
        /// The same for an owner, moderator or admin.
        owner_per_s: u32 = 10, In(1..=MAX);
        /// Comments a second that a room takes from everybody. Beyond it senders get `rate_limited`. A room may have its own.
        room_per_s: u32 = 1_000, In(1..=MAX);
        /// Comments a second that the deployment takes. Beyond it senders get `overloaded`.
        global_per_s: u32 = 100_000, In(1..=MAX);
        /// Likes a second of one user, given and taken back.
        likes_per_s: u32 = 20, In(1..=MAX);
        /// The same text from the same user within this time, in whatever room, is a duplicate; 0 is off.
        duplicate_window_ms: u64 = 5_000;
        /// A user with this many refusals (too fast, duplicate, blocked, too long) ...
        cool_down_refusals: u32 = 10;
        /// ... within this time ...
        cool_down_within_ms: u64 = 10_000;
        /// ... is muted for this time. Each further mute lasts twice as long, until the user has been quiet for ten times the
        /// last one. cool_down_refusals = 0 turns this off.
        cool_down_mute_ms: u64 = 10_000;
        /// The longest such mute.
        cool_down_mute_ms_max: u64 = 600_000;
        /// People that one comment may mention. Each of them gets the comment whatever their budget.
        mentions_max: usize = 20;
        /// Comments of one user that may wait for a moderator at once; further ones are refused with `rate_limited`.
        held_per_user: u32 = 100, In(1..=MAX);
        /// Open sockets of one user on one node. Further ones are refused with `rate_limited`.
        sockets_per_user: u32 = 1000, In(1..=MAX);
        /// Open sockets from one network address (an IPv6 address counts with its network). Loopback and trusted proxies do
        /// not count. Raise it where many viewers share an address.
        connections_per_address: u32 = 200;
        /// Handshakes a second from one address, counted likewise.
        handshakes_per_address_per_s: u32 = 50;
        /// HTTP requests a second from one address, counted likewise; the burst is one second's worth. Beyond it they get
        /// `rate_limited`. Each node counts for itself.
        requests_per_address_per_s: u32 = 500, In(1..=MAX);
        /// Reads over HTTP a second of one user, of which five seconds' worth may come at once. A reader without a token has
        /// the address's share. Each node counts for itself.
        reads_per_user_per_s: u32 = 50, In(1..=MAX);
        /// Event streams and long polls that one user may hold open on one node.
        streams_per_user: u32 = 50, In(1..=MAX);
        /// Proxies that are believed about the addresses of their clients, as addresses or networks such as "10.0.0.0/8". List
        /// a proxy on the same machine, too ("127.0.0.1", "::1"): otherwise all its viewers count as loopback, which has no
        /// limits per address. A client whose address cannot be read shares the limits of one address with all such clients.
        trusted_proxies: Vec<String> = NONE, Text(is_network, "addresses or networks such as 10.0.0.0/8");
        /// The header in which they name a client: "x-forwarded-for" or "forwarded" (RFC 7239). They must set it or add to it;
        /// the other one is not read, since clients may send it.
        forwarded_header: String = "x-forwarded-for",
            Text(|text| text == "x-forwarded-for" || text == "forwarded", "\"x-forwarded-for\" or \"forwarded\"");
        /// Whether they begin each connection with a PROXY header, version 1 or 2, before TLS too, also at the doors' own ports.
        /// A connection from a trusted proxy without one is closed then.
        proxy_protocol: bool = false;
    }
    [rooms] Rooms {
        /// Whether a room that nobody opened takes comments, in a session that starts with the first one.
        unopened: bool = true;
        /// Such a session ends after this time without a comment ...
        session_silence_s: u32 = 1_800, In(1..=MAX);
        /// ... and after this time in any case. A session opened through the admin API ends when it is closed.
        session_s_max: u32 = 86_400, In(1..=MAX);
        /// The longest a comment waits for others before it is sent, 0 to 100. In a quiet room a comment does not wait. In a
        /// busy room it waits 10 to 40 ms, and up to this value when a core is a fifth to two fifths busy. A room may have
        /// its own.
        window_ms_max: u32 = 50, In(0..=100);
        /// Comments a second that one viewer is given at most, and that a viewer who asks for nothing gets. Omitted ones are
        /// counted and reported. A room may have its own.
        viewer_per_s_max: u32 = 200, In(5..=100_000);
        /// Comments a second, in one room on all nodes together, from which on the room is hot: after some seconds above
        /// this, until ten seconds below half of it. Other nodes then get its comments every 20 ms rather than at once.
        hot_per_s: u32 = 500, In(1..=MAX);
        /// Comments given at join when the viewer does not ask for a number.
        history_default: u32 = 50;
        /// Most comments given at join; larger requests are cut to it.
        history_max: u32 = 100, In(0..=500);
        /// Most seconds of history given at join; larger requests are cut to it.
        history_s_max: u32 = 60;
        /// Most users in `only_user_ids`.
        only_users_max: usize = 20;
        /// Rooms in memory at once. A room is dropped after a minute and a half without readers, and when there are too many
        /// after seconds: first those in which nothing was said. When all have readers, joining one more is refused with
        /// `overloaded`.
        held_max: usize = 100_000;
        /// Rooms without readers on this node that one user may enter or read in a minute. Beyond it the user gets
        /// `rate_limited`; rooms that others read stay open.
        loads_per_user_per_min: u32 = 120, In(1..=MAX);
        /// The same for one network address. Loopback and trusted proxies do not count.
        loads_per_address_per_min: u32 = 1_200, In(1..=MAX);
        /// Length of a live segment, 250 to 2000: what viewers behind a cache ask for. Shorter ones arrive sooner and cost
        /// more requests. All nodes of a deployment have the same.
        live_segment_ms: u32 = 1_000, In(250..=2_000);
        /// Bytes of live segments in memory, of all rooms together. They are kept for an hour; beyond this, rooms with more
        /// than an equal share lose their oldest ones sooner.
        live_bytes_max: usize = 268_435_456, In(1 << 20..=MAX);
        /// Days until comments are removed from the store; 0 keeps them. A room may have its own.
        retention_days: u32 = 0, In(0..=36_500);
        /// Days for which a repeated client_msg_id gets its first answer again.
        client_msg_id_days: u32 = 7, In(1..=365);
    }
    [archive] Archive {
        /// Where comments of past sessions lie, and uploads unless uploads.directory is set: `file:` and a directory, which is
        /// in server.data when it is relative, or `s3://bucket/prefix`, with keys and region from the environment (AWS_...).
        /// Empty: comments stay in the database. Nodes that share a database need a place that they share: there, a directory
        /// in server.data counts as empty.
        url: String = "file:archive";
        /// Days after its end when a session leaves the database; 0 is at once.
        after_days: u32 = 7, In(0..=36_500);
    }
    [sockets] Sockets {
        /// How often clients have to send something, as `connected` tells them. Any frame counts. A socket that is silent for
        /// twice this time is closed.
        heartbeat_s: u32 = 30, In(5..=3_600);
        /// How long a socket without an identity, where one is needed, may stay before it is closed with 4001.
        login_s: u32 = 10, In(1..=300);
        /// How long a connection may take to send its request.
        handshake_s: u32 = 10, In(1..=300);
        /// Bytes that may wait for one slow socket. Beyond it, or after 5 seconds, comments are skipped and counted; answers
        /// and events that do not fit close the socket with 4008. At least 16384.
        backlog_bytes_max: usize = 262_144, In(16_384..=MAX);
        /// A socket that takes not a single byte for this time is closed with 4008.
        slow_patience_s: u32 = 10, In(1..=300);
        /// Whether batches are compressed (permessage-deflate, RFC 7692) for clients that offer it, as all browsers do. A
        /// batch is compressed once for all its readers; answers are not compressed.
        compression: bool = true;
        /// Smaller batches are sent as they are: compression would gain little.
        compression_bytes_min: usize = 512, In(1..=MAX);
        /// Sockets that this node holds; further ones are refused with `overloaded` and sent to live segments. From nine tenths
        /// on, `connected` advises clients to read segments. 0 is no bound.
        open_max: u64 = 0, In(0..=MAX);
        /// Rooms one socket may read at the same time.
        rooms_per_socket_max: usize = 64, In(1..=1_024);
    }
    [tls] Tls {
        /// Certificate chain in PEM, the server's own certificate first, and its private key in PEM (RSA, P-256, P-384 or
        /// Ed25519). With both the listener speaks only TLS, 1.2 and 1.3: https and wss on the same port. Changed files take
        /// effect within two seconds, for new connections.
        certificate_file: PathBuf = "";
        key_file: PathBuf = "";
    }
    [chat] Chat {
        /// Characters of one message, 1 to 20000; longer ones are refused. encrypted_bytes_max bounds encrypted messages.
        message_chars_max: u32 = 4_000, In(1..=20_000);
        /// Messages a second of one user, in all conversations together ...
        messages_per_s: u32 = 20, In(1..=MAX);
        /// ... and how many may come at once before that rate holds.
        burst: u32 = 100, In(1..=MAX);
        /// How long its sender may recall or edit a message.
        recall_s: u32 = 120;
        /// Whether a recalled message's text stays in the database, for audit. Nobody is shown it either way.
        recall_keeps_content: bool = false;
        /// Members of one group, at most 10000.
        group_members_max: u32 = 500, In(1..=10_000);
        /// Groups that one user may make in an hour.
        groups_per_hour: u32 = 60, In(1..=MAX);
        /// Who may add somebody to a group: "anyone", or only people to whom they have written themselves ("contacts").
        /// People whom they block never may.
        group_adds: String = "anyone",
            Text(|text| text == "anyone" || text == "contacts", "\"anyone\" or \"contacts\"");
        /// Days for which a device that was offline gets what it missed by syncing; the conversation's history has older
        /// messages.
        offline_days: u32 = 7, In(1..=3_650);
        /// Days until messages are removed; 0 keeps them. At least offline_days, and seven: for that time a repeated
        /// client_msg_id gets its first answer again.
        history_days: u32 = 0, In(0..=36_500);
        /// Whether the word filter applies: it masks words or refuses the message. Nobody reviews private messages, so the
        /// review list does not apply. The server cannot read encrypted messages.
        word_filter: bool = true;
        /// Bytes of one encrypted message, at least 1024. Those that do not fit into a message of a socket
        /// (limits.message_bytes_max) are sent over HTTP.
        encrypted_bytes_max: u32 = 65_536, In(1_024..=1 << 20);
    }
    [uploads] Uploads {
        /// Directory of pictures, videos and files in messages. Empty: `uploads` in server.data if there is such a directory,
        /// otherwise `uploads` under archive.url.
        directory: PathBuf = "";
        /// Bytes of a picture.
        image_bytes_max: u64 = 10_485_760;
        /// Bytes of a video.
        video_bytes_max: u64 = 209_715_200;
        /// Bytes of any other file.
        file_bytes_max: u64 = 52_428_800;
        /// Media types that are accepted. Types that browsers run, such as HTML and SVG, cannot be.
        types: Vec<String> = vec![
            "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "video/mp4", "video/webm", "audio/mpeg",
            "audio/mp4", "audio/ogg", "audio/webm", "application/pdf", "application/zip", "application/octet-stream",
            "text/plain", "text/csv",
        ], Text(is_safe_type, "media types such as image/png; none that browsers run (HTML, SVG, XML, scripts)");
        /// How long the links work that upload and download files. An upload that nobody has referred to for a day is
        /// removed.
        url_ttl_s: u32 = 3_600, In(60..=604_800);
        /// Bytes that one user may announce in a day (UTC). Beyond it the user gets `rate_limited` until midnight.
        bytes_per_user_per_day: u64 = 2_147_483_648_u32, In(1..=MAX);
        /// Uploads of one user that may arrive at once on one node, of 64 of all users. One more gets `rate_limited`.
        at_once_per_user: u32 = 8, In(1..=64);
        /// Bytes a second, over the whole upload, below which it is given up after 15 seconds.
        bytes_per_s_min: u32 = 4_096, In(1..=MAX);
        /// Whether JPEG, PNG and WebP pictures lose what tells about people (Exif with place and time, XMP, comments). Their
        /// orientation and colours stay. What only pretends to be such a picture is refused.
        strip_metadata: bool = true;
    }
    [hook] Hook {
        /// A web service that learns of messages to people who are offline, so that it can push to their phones. Empty: none.
        /// http:// is for services on the same machine or network.
        url: String = "", Text(is_http_or_empty, "an address with https:// or http://, or empty");
        /// Signs the calls (Standard Webhooks): `whsec_` and base64, or any text of at least 16 bytes. Better set in the
        /// environment than in a file.
        secret: String = "";
        /// The conversations it covers: "direct", "group".
        kinds: Vec<String> = vec!["direct", "group"],
            Text(|kind| kind == "direct" || kind == "group", "a list of \"direct\" and \"group\"");
        /// Whether calls carry the text of messages. Encrypted messages never go along.
        include_content: bool = false;
        /// How long a call may take.
        timeout_s: u32 = 5, In(1..=60);
        /// How often a call is attempted: again after 2, 4, 8 ... seconds, at most an hour apart. Then it is given up.
        attempts_max: u32 = 12, In(1..=30);
    }
    [moderation] ModerationSettings {
        /// A classifier for every comment: "off", or "builtin" for the one in this program. Its labels `spam`, `insult`,
        /// `sexual` and `links` lead to what a room's thresholds say; where a room has none, the first three are held from 0.5
        /// on.
        classifier: String = "off", Text(is_classifier, "\"off\" or \"builtin\"");
        /// How long a moderator who claims a held comment has for the decision.
        claim_s: u32 = 60, In(1..=3_600);
        /// The reasons that a decision about a comment may have, in the order in which the desk offers them. The desk and the
        /// viewer's page name these eight in their languages, and others as they are written here.
        reasons: Vec<String> = vec!["spam", "insult", "hate", "sexual", "threat", "private", "links", "flood"],
            Text(is_reason, "1-40 characters without commas, and without spaces around them");
        /// Whether moderators are told when a room looks raided: many newcomers, or many people who say nearly the same. The
        /// alarm proposes the shield and changes nothing. Rooms may differ.
        raid_alarm: bool = false;
        /// One passed comment in so many is kept for quality control, at most 10000 a day and node. 0 keeps none.
        sample_one_in: u32 = 0, In(0..=u32::MAX as i64);
        /// How long those are kept, whatever becomes of the comments themselves.
        sample_days: u32 = 30, In(1..=3_650);
    }
    [webhooks] Webhooks {
        /// How often a call is attempted: again after 2, 4, 8 ... seconds, at most an hour apart. Then it is a dead letter.
        attempts_max: u32 = 12, In(1..=30);
        /// How long a call may take.
        timeout_s: u32 = 5, In(1..=60);
        /// Whether webhooks may lead into a private network.
        allow_private: bool = false;
    }
    [store] Store {
        /// The database of comments, rooms, messages and everything else that lasts. Empty: SQLite in server.data.
        /// "mysql://user:password@host:port/database" (MySQL 8, MariaDB 10.6, TiDB 7.1 or newer) for several nodes; goes
        /// together with redis.url. The database must exist; its tables are created. Better set in the environment than in a
        /// file.
        /// TLS: "?ssl-mode=VERIFY_IDENTITY" requires it, with a certificate for that host from an authority on Mozilla's list
        /// (which is built in) or, with "&ssl-ca=/path/to/ca.pem", from one in that file. Without ssl-mode it is PREFERRED:
        /// TLS when the server has it, with whatever certificate, which only stops passive listeners. DISABLED is no TLS.
        url: String = "", Text(is_mysql_or_empty, "mysql://user:password@host:port/database, or empty");
        /// Live comments that each node keeps on its own disk (spool.sqlite in server.data) during an outage of the database.
        /// Beyond either bound no comment is accepted. With SQLite there is no spool.
        spool_records_max: u64 = 1_000_000, In(1..=MAX);
        spool_bytes_max: u64 = 1_073_741_824, In(1 << 20..=MAX);
    }
    [redis] Redis {
        /// What several nodes share from moment to moment, and their way to each other. Empty: this process is alone.
        /// "redis://[user:password@]host:port[/db]" is one server;
        /// "redis+sentinel://[user:password@]host:port,host:port,.../master-name" is the master that these sentinels name;
        /// "redis+cluster://[user:password@]host:port,host:port,..." is a Cluster, by some of its nodes. Better set in the
        /// environment than in a file.
        /// "rediss://", "rediss+sentinel://" and "rediss+cluster://" are the same over TLS. The certificate of each server,
        /// sentinels included, has to be for the name or IP address by which this node connects.
        url: String = "";
        /// The authorities that verify those certificates, in PEM, read at the start. Empty: those that the system trusts.
        ca_file: PathBuf = "";
        /// This node's own certificate and its key, in PEM, read at the start: for a Redis that asks clients for one
        /// (`tls-auth-clients yes`).
        certificate_file: PathBuf = "";
        key_file: PathBuf = "";
    }
    [kafka] Kafka {
        /// A log on Kafka, shared by all nodes: "host:port,host:port,...", some of the brokers (3.x or 4.x). Goes together with
        /// redis.url and store.url. Empty: each node has a log of its own. With it nodes can have different roles (`serve
        /// --roles`).
        brokers: String = "";
        /// Whether the brokers are spoken to over TLS. Their certificates have to be for the names by which they announce
        /// themselves. Only a program built with the feature `kafka-tls` can do it.
        tls: bool = false;
        /// The authorities that verify those certificates, in PEM. Empty: those that the system trusts. This file and the next
        /// two are read at the start.
        ca_file: PathBuf = "";
        /// This node's own certificate and its key, in PEM, for brokers that ask for one (`ssl.client.auth=required`).
        certificate_file: PathBuf = "";
        key_file: PathBuf = "";
        /// Partitions of a new topic, <namespace>.room_chat: as many workers can share the rooms, and the brokers' work rises
        /// with them; two for each core of the brokers are enough. Adding some later moves rooms. An existing topic is never
        /// changed.
        partitions: u16 = 12, In(1..=10_000);
        /// Several records that wait for one partition become one message, which costs the brokers and all readers much less.
        /// A node that does not know this setting loses what is in them: turn it on when no such node is left.
        blocks: bool = false;
        /// Brokers that keep a record; and those of them that have it before a comment is acknowledged. A topic that has less
        /// is refused.
        replication: u16 = 3, In(1..=15);
        min_insync: u16 = 2, In(1..=15);
        /// Shards, by user, over which a hot room (rooms.hot_per_s) is spread in the partitions: 1, 2, 4, 8 or 16.
        hot_shards: u16 = 8, In(1..=16);
        /// How long records stay on a new topic: the database may be away for as long.
        retention_hours: u32 = 168, In(1..=MAX);
    }
    [etcd] Etcd {
        /// Leases the numbers of nodes and lists those that live: "http://host:port,http://host:port,...", or with https.
        /// Empty: Redis does. During an outage running nodes go on for about an hour; then they make no ids until it is back.
        endpoints: String = "",
            Text(is_etcd_or_empty, "http://host:port or https://host:port, several separated by commas, or empty");
        /// The authorities that verify etcd's certificates, in PEM; needed with https. A changed file of these three takes
        /// effect within two seconds, for new connections.
        ca_file: PathBuf = "";
        /// This node's own certificate and its key, in PEM: for an etcd that asks clients for one (`--client-cert-auth`).
        certificate_file: PathBuf = "";
        key_file: PathBuf = "";
    }
    [nodes] Nodes {
        /// Where this node listens for the others (gRPC): batches for its viewers from workers, comments from nodes without
        /// the role `ingest`. Needed with kafka.brokers, and on nodes with the role `ingest` when others do not have it. Only
        /// nodes with the same auth.hmac_secret are accepted. Without the certificates below nothing is encrypted: then use an
        /// address of the nodes' own network. Port 0 takes a free one.
        listen: String = "",
            Text(is_socket_address_or_empty, "an address and port, such as 10.0.0.7:7070, or empty");
        /// How other nodes reach it, host:port. Empty: the address of listen.
        advertise: String = "",
            Text(|text| text.is_empty() || is_host_and_port(text), "host:port, as other nodes reach this one, or empty");
        /// TLS between nodes, with a certificate on both sides: the authority that signs the nodes' certificates and no others,
        /// this node's certificate, and its key; all three in PEM, or none. A changed file takes effect within two seconds,
        /// for new connections.
        ca_file: PathBuf = "";
        certificate_file: PathBuf = "";
        key_file: PathBuf = "";
        /// The name that is in the certificate of every node, such as "barrage-node". Empty: each node's certificate is for the
        /// host of its address.
        tls_name: String = "";
        /// Whether nodes without certificates are spoken to all the same: while certificates are introduced, and no longer.
        tls_optional: bool = false;
    }
    [doors] Doors {
        /// One line of HTML on another site: /embed.js, and /embed/{room_id} for frames. The sites of auth.origins may use it.
        embed: bool = true;
        /// The page for a streaming program's browser source: /overlay/{room_id}.
        overlay: bool = true;
        /// Comments in the forms that other players read: /compat/dplayer, /compat/dandanplay, /compat/bilibili.
        players: bool = true;
    }
    [log] Log {
        /// error, warn, info, debug or trace, or a filter such as "info,gateway=debug". Texts and names of people are not
        /// logged at info.
        level: String = "info";
        /// "text": one line for people. "json": one object a line for collectors.
        format: LogFormat = "text", Text(|text| text == "text" || text == "json", "\"text\" or \"json\"");
    }
    [telemetry] Telemetry {
        /// Base of a collector of traces: spans are posted to {otlp_url}/v1/traces (OTLP, HTTP with Protobuf). Empty: no traces.
        /// A collector that is slow or away costs spans and nothing else.
        otlp_url: String = "", Text(is_http_or_empty, "https://..., http://..., or empty");
        /// One comment in so many is followed from its publication to the last socket; 1 is every one, 0 none. All nodes need
        /// the same number.
        sample_one_in: u32 = 1_000, In(0..=u32::MAX as i64);
    }
    [sentry] Sentry {
        /// Where errors and panics are reported, besides the log: a DSN of Sentry or of a service that speaks its protocol,
        /// https://key@host/project. Empty: nowhere. Better set in the environment than in a file. A service that is slow or
        /// away costs reports and nothing else.
        dsn: String = "";
        /// What the reports say about where they come from, such as "production".
        environment: String = "production";
    }
    optional ["moderation.hook"] moderation_hook: ModerationHook {
        /// A web service that decides about comments before they are published. Rooms may switch it off.
        url: String = "";
        /// The language of that service: "barrage", or "openai", "azure", "aliyun", "tencent", "perspective", "ivs", whose
        /// keys are the secret below; or a file with a template of your own (docs/moderation.md).
        dialect: String = "barrage";
        /// How long a comment waits for the answer.
        budget_ms: u32 = 200, In(50..=2_000);
        /// What holds without an answer: "allow", "hold" or "deny". Rooms may differ.
        fallback: String = "allow", Text(is_fallback, "\"allow\", \"hold\" or \"deny\"");
        /// Comments of one call.
        batch_max: usize = 64, In(1..=64);
        /// Signs the calls (Standard Webhooks): `whsec_` and base64, or any text of at least 16 bytes. Two of them, separated
        /// by a space, sign with both while one replaces the other. In another dialect it is the provider's key, for
        /// "aliyun" and "tencent" ID:KEY. Better set in the environment than in a file.
        secret: String = "";
        /// Whether the address may lead into a private network.
        allow_private: bool = false;
        /// Whether private and group messages are asked about too, never encrypted ones. Without an answer a message is
        /// refused unless the fallback is "allow", and so is what would be held: nobody reviews messages.
        chat: bool = false;
        /// After so many failures in a row nothing is asked for a while.
        breaker_failures: u32 = 5, In(1..=1_000);
        /// Until the first probe after that; the pause doubles up to 10000.
        breaker_probe_ms: u32 = 1_000, In(10..=10_000);
    }
    optional ["doors.irc"] doors_irc: IrcDoor {
        /// Rooms as channels of Twitch's chat, for programs that speak it: at /irc (WebSocket), and without TLS on this
        /// address and port (TCP). Empty: only at /irc. This section alone, `[doors.irc]`, opens the door.
        listen: String = "127.0.0.1:6667", Text(is_socket_address_or_empty, "an address and port, such as 0.0.0.0:6667, or empty");
        /// The same over TLS, with the certificate of [tls]; clients expect it on port 6697. Empty: not there.
        tls_listen: String = "", Text(is_socket_address_or_empty, "an address and port, such as 0.0.0.0:6697, or empty");
    }
    optional ["doors.pusher"] doors_pusher: PusherDoor {
        /// Rooms as channels of Pusher, for programs that speak its protocol: /app/{key} (WebSocket) and /apps/{app_id}
        /// (HTTP). All three keys are needed. The id is in the paths of back ends.
        app_id: String = "", Text(is_id, "1-64 characters of A-Z a-z 0-9 _ - . : @");
        /// In the address of clients. It is public.
        key: String = "", Text(is_id, "1-64 characters of A-Z a-z 0-9 _ - . : @");
        /// Signs subscriptions and the calls of back ends, at least 16 bytes. Who has it speaks in anybody's name. Better
        /// set in the environment than in a file.
        secret: String = "", Text(|text| text.len() >= 16, "at least 16 bytes");
    }
    optional ["doors.goim"] doors_goim: GoimDoor {
        /// Comments as packets of goim, read only, for native apps: at /sub (WebSocket), and without TLS on this address
        /// and port (TCP). Empty: only at /sub. This section alone, `[doors.goim]`, opens the door.
        listen: String = "127.0.0.1:3101", Text(is_socket_address_or_empty, "an address and port, such as 0.0.0.0:3101, or empty");
        /// The same over TLS, with the certificate of [tls]. Empty: not there.
        tls_listen: String = "", Text(is_socket_address_or_empty, "an address and port, such as 0.0.0.0:3103, or empty");
    }
}

const NONE: Vec<String> = Vec::new();

/// A section in which nothing is set.
fn default_of<T: DeserializeOwned>(keys: &'static [Key]) -> T {
    let section = Section { name: "", keys, is_optional: false };
    Value::Table(section.defaults()).try_into().expect("each default has its key's type")
}

impl Config {
    /// The bytes of the longest comment or message of text in JSON, every character escaped. A room may allow 2,000
    /// characters.
    pub fn escaped_bytes_max(&self) -> usize {
        let chars = self.chat.message_chars_max.max(self.limits.comment_chars_max).max(2_000);
        chars as usize * ESCAPED_BYTES + ENVELOPE_BYTES
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

fn is_socket_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok()
}

fn is_socket_address_or_empty(text: &str) -> bool {
    text.is_empty() || is_socket_address(text)
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn is_id(text: &str) -> bool {
    model::RoomId::new(text).is_ok()
}

fn is_network(text: &str) -> bool {
    text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok()
}

fn is_http_or_empty(text: &str) -> bool {
    text.is_empty() || text.starts_with("https://") || text.starts_with("http://")
}

fn is_classifier(text: &str) -> bool {
    matches!(text, "off" | "builtin")
}

fn is_fallback(text: &str) -> bool {
    matches!(text, "allow" | "hold" | "deny")
}

fn is_reason(text: &str) -> bool {
    let is_odd = |c: char| c.is_control() || c == ',';
    (1..=40).contains(&text.chars().count()) && text.trim() == text && !text.contains(is_odd)
}

fn is_mysql_or_empty(text: &str) -> bool {
    text.is_empty() || text.starts_with("mysql://")
}

fn is_etcd_or_empty(text: &str) -> bool {
    let is_address = |endpoint: &str| endpoint.starts_with("http://") || endpoint.starts_with("https://");
    text.is_empty() || text.split(',').all(|endpoint| is_address(endpoint.trim()))
}

/// Whether a media type is a plain `type/subtype` in lower case that no browser runs.
fn is_safe_type(kind: &str) -> bool {
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b))
    };
    let runs = ["html", "svg", "xml", "script"].iter().any(|part| kind.contains(part));
    kind.split_once('/').is_some_and(|(class, name)| plain(class) && plain(name)) && !runs
}
