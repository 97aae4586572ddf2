//! The command line. The help texts are the doc comments.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use model::{Level, Roles, RoomId, UserId};

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
    /// Brings a file of recorded comments into a room, as a recording that can be replayed.
    Import(Import),
    /// Sends a file of recorded comments into a room, as its many senders did, live.
    Play(Play),
    /// Drives a server with many sockets and says what each delivery costs and how long it takes.
    Bench(Box<bench::Options>),
    /// Says what is wrong with a configuration file, with the line.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Prints a commented configuration with every default.
    DefaultConfig,
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
    /// Roles of this process, of gateway, ingest, worker, persist and api; all of them when absent.
    #[arg(long, value_name = "LIST")]
    pub roles: Option<Roles>,
    /// Development: identities come from the query string, the admin API needs no key.
    #[arg(long)]
    pub dev: bool,
    /// Lets --dev listen on other addresses than loopback.
    #[arg(long, requires = "dev")]
    pub i_know_this_is_open: bool,
}

/// `token`
#[derive(Debug, Args)]
pub struct Token {
    /// The user id.
    #[arg(long, value_name = "ID")]
    pub user: UserId,
    /// The shown name.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// normal, vip, owner, moderator or admin.
    #[arg(long, default_value = "normal", value_parser = level)]
    pub level: Level,
    /// A room the token is good for; may be given again. All rooms when absent.
    #[arg(long = "room", value_name = "ID")]
    pub rooms: Vec<RoomId>,
    /// How long it is good for.
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Where the server's secret is.
    #[command(flatten)]
    pub place: Place,
}

/// Where a server's configuration and data are.
#[derive(Debug, Args)]
pub struct Place {
    /// The server's configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The server's data directory, instead of server.data.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Which running server to speak to.
#[derive(Debug, Args)]
pub struct Server {
    /// Its address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// A token that may do this; one is made with the server's secret when absent.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Where the server's secret is.
    #[command(flatten)]
    pub place: Place,
}

/// `import`
#[derive(Debug, Args)]
pub struct Import {
    /// Recorded comments (XML with `<d p="time,mode,size,colour,…">text</d>`).
    pub file: PathBuf,
    /// The room.
    #[arg(long, value_name = "R")]
    pub room: RoomId,
    /// The server.
    #[command(flatten)]
    pub to: Server,
}

/// `play`
#[derive(Debug, Args)]
pub struct Play {
    /// Recorded comments (XML with `<d p="time,mode,size,colour,…">text</d>`).
    pub file: PathBuf,
    /// The room.
    #[arg(long, value_name = "R")]
    pub room: RoomId,
    /// How many times faster than recorded.
    #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = speed)]
    pub speed: f64,
    /// Sockets open at once; each sender has its own while it speaks.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub sockets: usize,
    /// The server.
    #[command(flatten)]
    pub to: Server,
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
