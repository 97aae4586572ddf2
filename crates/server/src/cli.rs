//! The command line. Its help texts are the doc comments below.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use model::{Level, Roles, RoomId, UserId};

use crate::commands::plan;

/// A self-hosted live-comment (danmaku) and chat server.
#[derive(Debug, Parser)]
#[command(name = "barrage", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the server.
    Serve(Serve),
    /// Prints a token signed with the server's secret; it is the last line.
    Token(Token),
    /// Imports a file of recorded comments into a room, as a recording that can be replayed.
    Import(Import),
    /// Writes a recording's comments to the standard output.
    Export(Export),
    /// Plays a file of recorded comments into a room live, with as many senders as it had.
    Play(Play),
    /// Loads a server with many sockets, and measures what each delivery costs and how long it takes.
    Bench(Box<bench::Options>),
    /// Looks at what a node depends on, and says what is wrong and how to mend it. Exit code 1 when something fails.
    Doctor(Doctor),
    /// Calculates the machines and the cost for a load, each line with its formula.
    Plan(Plan),
    /// Makes a running server hand over to the binary that is now at its path; no connection is refused, and no plain socket
    /// closes.
    Upgrade(Upgrade),
    /// Writes a copy of the SQLite database as of now, also while the server runs.
    Backup(Backup),
    /// Lists and acts through the admin API of a running server.
    Admin(Admin),
    /// Prints the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page.
    Man,
    /// Checks or prints the audit trail, also beside a running server.
    Audit(Audit),
    /// Lists, verifies, restores or exports archived sessions, also beside a running server.
    Archive(ArchiveTool),
    /// Checks a configuration file, and reports what is wrong with it and in which line.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Prints a configuration file with every setting, its default and its meaning.
    DefaultConfig,
}

/// `archive`
#[derive(Debug, Args)]
pub struct ArchiveTool {
    /// What to do with it.
    #[command(subcommand)]
    pub action: ArchiveAction,
}

/// What `archive` does.
#[derive(Debug, Subcommand)]
pub enum ArchiveAction {
    /// Prints a line for each archived session.
    List(ArchivePlace),
    /// Reads every object and checks it; prints a line for each broken segment, and ends with 1 if there is one.
    Verify(ArchivePlace),
    /// Brings a session back into the database, where it stays for archive.after_days from now.
    Restore {
        /// The session.
        session: model::Snowflake,
        /// Where it is.
        #[command(flatten)]
        place: ArchivePlace,
    },
    /// Writes a session's comments as a file.
    Export {
        /// The session.
        session: model::Snowflake,
        /// jsonl, xml, ass or parquet.
        #[arg(long, value_name = "FORMAT", value_parser = ["jsonl", "xml", "ass", "parquet"])]
        format: String,
        /// A new file; the standard output without it.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Where it is.
        #[command(flatten)]
        place: ArchivePlace,
    },
}

/// The archive that a command is about: that of a running server, or read directly.
#[derive(Debug, Args)]
pub struct ArchivePlace {
    /// Asks this server, instead of reading the database and the objects.
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// A token that may do this. Default: one signed with the server's secret.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Where the database, the settings and the secret are.
    #[command(flatten)]
    pub place: DataLocation,
}

/// `audit`
#[derive(Debug, Args)]
pub struct Audit {
    /// What to do with it.
    #[command(subcommand)]
    pub action: AuditAction,
}

/// What `audit` does.
#[derive(Debug, Subcommand)]
pub enum AuditAction {
    /// Follows the chain of hashes from the first entry to the last; ends with 1 at an entry that does not fit.
    Verify(DataLocation),
    /// Prints every entry as a line of JSON.
    Export(DataLocation),
    /// Prints the sample of passed comments that is kept for quality control, each as a line of JSON.
    Samples(DataLocation),
}

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Configuration file (TOML); every key also as BARRAGE__SECTION__KEY in the environment.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on, instead of server.listen.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Data directory, instead of server.data.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Roles of this process, separated by commas: gateway, ingest, worker, persist, api. Default: all of them.
    #[arg(long, value_name = "LIST")]
    pub roles: Option<Roles>,
    /// Development mode: identities come from the query string, and the admin API needs no key.
    #[arg(long)]
    pub dev: bool,
    /// Allows --dev to listen on addresses other than loopback.
    #[arg(long, requires = "dev")]
    pub i_know_this_is_open: bool,
    /// Speaks TLS with a certificate made for this run, valid for 14 days, and prints its hash. For development.
    #[arg(long)]
    pub tls_self_signed: bool,
}

/// `token`
#[derive(Debug, Args)]
pub struct Token {
    /// The user id.
    #[arg(long, value_name = "ID")]
    pub user: UserId,
    /// The name that others see.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The user's level: normal, vip, owner, moderator or admin.
    #[arg(long, default_value = "normal", value_parser = level)]
    pub level: Level,
    /// A room that the token is valid for; can be repeated. Default: all rooms.
    #[arg(long = "room", value_name = "ID")]
    pub rooms: Vec<RoomId>,
    /// How long the token is valid.
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Where the server's secret is.
    #[command(flatten)]
    pub place: DataLocation,
}

/// Where a server's configuration and data are.
#[derive(Debug, Clone, Args)]
pub struct DataLocation {
    /// The server's configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The server's data directory, instead of server.data.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The running server to connect to.
#[derive(Debug, Args)]
pub struct TargetServer {
    /// The address of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// A token that may do this. Default: one signed with the server's secret.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Where the server's secret is.
    #[command(flatten)]
    pub place: DataLocation,
}

/// `import`
#[derive(Debug, Args)]
pub struct Import {
    /// Recorded comments; `-` is the standard input.
    pub file: PathBuf,
    /// The room.
    #[arg(long, value_name = "R")]
    pub room: RoomId,
    /// auto, bilibili, bilibili-pb, niconico, dandanplay, dplayer, twitch, youtube, csv or jsonl.
    #[arg(long, default_value = "auto", value_name = "FORMAT")]
    pub format: recording::Format,
    /// Says what would come in and what would not, and why; writes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The server.
    #[command(flatten)]
    pub to: TargetServer,
}

/// `export`
#[derive(Debug, Args)]
pub struct Export {
    /// The room.
    #[arg(long, value_name = "R")]
    pub room: RoomId,
    /// The session.
    #[arg(long, value_name = "S")]
    pub session: String,
    /// xml, ass, jsonl, csv, dplayer or dandanplay.
    #[arg(long, value_name = "FORMAT")]
    pub format: recording::ExportFormat,
    /// The server.
    #[command(flatten)]
    pub from: TargetServer,
}

/// `play`
#[derive(Debug, Args)]
pub struct Play {
    /// Recorded comments, in any format that `import` reads; `-` is the standard input.
    pub file: PathBuf,
    /// The room.
    #[arg(long, value_name = "R")]
    pub room: RoomId,
    /// How many times faster than recorded.
    #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = speed)]
    pub speed: f64,
    /// Sockets open at once; each active sender has its own.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub sockets: usize,
    /// The server.
    #[command(flatten)]
    pub to: TargetServer,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// The server's configuration file.
    #[arg(long, value_name = "F")]
    pub config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Viewers online at the peak, in all rooms together.
    #[arg(long, value_name = "N", value_parser = plan::amount, allow_hyphen_values = true)]
    pub viewers: f64,
    /// Comments a second at the peak, in all rooms together.
    #[arg(long, value_name = "R", value_parser = plan::amount, allow_hyphen_values = true)]
    pub comments_per_s: f64,
    /// Rooms, equally busy.
    #[arg(long, value_name = "K", value_parser = plan::rooms, allow_hyphen_values = true)]
    pub rooms: f64,
    /// Chat messages a day.
    #[arg(long, value_name = "M", value_parser = plan::amount, allow_hyphen_values = true)]
    pub messages_per_day: f64,
    /// Days for which comments and messages are kept.
    #[arg(long, value_name = "D", value_parser = plan::amount, allow_hyphen_values = true)]
    pub retention_days: f64,
    /// Prices (JSON): `{"node": 160, "broker": 200, …}`.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Figures of your own machine, as `barrage bench --calibrate` writes them.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// `upgrade`
#[derive(Debug, Args)]
pub struct Upgrade {
    /// The server's process id. Default: the one that its data directory names.
    #[arg(long, value_name = "N", conflicts_with_all = ["config", "data"])]
    pub pid: Option<u32>,
    /// Where the server is.
    #[command(flatten)]
    pub place: DataLocation,
}

/// `backup`
#[derive(Debug, Args)]
pub struct Backup {
    /// The copy; must not exist.
    pub file: PathBuf,
    /// Where the database is.
    #[command(flatten)]
    pub place: DataLocation,
}

/// `admin`
#[derive(Debug, Args)]
pub struct Admin {
    /// The address of the server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", global = true)]
    pub url: String,
    /// The server's admin key.
    #[arg(long, env = "BARRAGE__AUTH__ADMIN_KEY", hide_env_values = true, default_value = "", global = true)]
    pub key: String,
    /// Prints JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub action: AdminAction,
}

/// The actions of `admin`.
#[derive(Debug, Subcommand)]
pub enum AdminAction {
    /// Lists the rooms.
    Rooms,
    /// Lists a room's sessions.
    Sessions {
        /// The room.
        room: RoomId,
    },
    /// Lists the bans in force.
    Bans,
    /// Bans a user, everywhere or from a room.
    Ban {
        /// The user.
        user: UserId,
        /// Only from this room.
        #[arg(long, value_name = "R")]
        room: Option<RoomId>,
        /// For how long. Default: a day.
        #[arg(long, value_name = "N", default_value_t = 86_400)]
        duration_s: u64,
    },
    /// Closes a user's sockets. The user may come back.
    Kick {
        /// The user.
        user: UserId,
    },
    /// Announces a text in a room.
    Announce {
        /// The room.
        room: RoomId,
        /// The text.
        text: String,
    },
    /// Ends the server as SIGTERM does: viewers reconnect elsewhere.
    Drain,
}

fn level(text: &str) -> Result<Level, String> {
    let known = [Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin];
    let found = known.into_iter().find(|level| level.as_str() == text);
    found.ok_or_else(|| "expected normal, vip, owner, moderator or admin".into())
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed <= 10_000.0 => Ok(speed),
        _ => Err("expected a number above 0 and up to 10000".into()),
    }
}
