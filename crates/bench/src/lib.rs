//! `barrage bench`: drives a server with tens of thousands of sockets and says what a delivery costs, how
//! long it takes until the last socket has it, and whether the generator or the server was the limit.
//!
//! `scenario` (what is to be done) → `swarm` and its `worker`s (doing it) → `measure` and `round` (what
//! came of it) → `report`. `target` starts what is measured, `floor` is the least that could be. The
//! generator has its own epoll loops and no task for any socket; it knows the server by the protocol only.
//! Linux only: CPU and memory are read from `/proc`.

mod adapter;
mod bandwidth;
mod calibrate;
mod clock;
mod conn;
mod content;
mod crew;
mod flood;
mod floor;
mod generator;
mod html;
mod measure;
mod options;
mod pace;
mod prepare;
mod procfs;
mod protobuf;
mod report;
mod round;
mod scenario;
mod search;
mod specs;
mod swarm;
mod target;
mod tls;
#[cfg(feature = "quic")]
mod webtransport;
#[cfg(not(feature = "quic"))]
#[path = "without_quic.rs"]
mod webtransport;
mod wire;
mod worker;

use anyhow::{Context, ensure};

pub use options::Options;

use adapter::Adapter;
use conn::Role;
use flood::Flood;
use options::{CpuList, Handshakes, Scenario, Transport};
use pace::Load;
use report::{Report, Run};
use round::Round;
use scenario::Plan;
use search::Verdict;
use swarm::Swarm;
use target::Target;

/// Share of the sockets opened first, so that what a server sets aside once is not counted to each.
const FIRST_SHARE: f64 = 0.02;

/// Sockets of one process, which may open 20,000 files on many machines.
const SOCKETS_PER_PROCESS: usize = 19_000;

/// Runs a scenario and prints what it found.
///
/// # Errors
/// When the flags contradict each other, the target does not start, or sockets fail.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(floor) = options.serve_floor {
        return floor::serve(floor);
    }
    if options.calibrate {
        return calibrate::run(options);
    }
    if options.scenario == Scenario::Bandwidth {
        let files: Vec<_> = options.file.iter().chain(&options.more).cloned().collect();
        return bandwidth::run(&files, options.out.as_deref());
    }
    let recording = options.file.as_deref().map(read_recording).transpose()?;
    let plan = scenario::plan(options, recording.as_ref().map(|recording| &*recording.comments))?;
    if let Some(part) = options.as_generator {
        return generator::serve(&plan, part);
    }
    let processes = processes(options, &plan)?;
    let (server_cpus, generator_cpus) = cpus(options)?;
    target::pin(&generator_cpus).context("cannot use the CPUs of --generator-cpus")?;
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION").into(),
        command: command(),
        host: procfs::host(),
        work: work(&plan, options),
        server_cpus: server_cpus.to_string(),
        generator_cpus: generator_cpus.to_string(),
        runs: Vec::new(),
    };
    let means = Means { threads: options.threads.unwrap_or(generator_cpus.0.len()), cpus: generator_cpus, processes };
    for floor in &options.floor {
        report.runs.push(measure(&Target::floor(*floor, &server_cpus)?, &plan, options, &means)?);
    }
    if !options.only_floor {
        for transport in transports(options) {
            let mut target = Target::measured(options, &server_cpus, transport)?;
            if options.no_store {
                prepare::store_nothing(&target.address, &plan)?;
            }
            target.address.groups = prepare::found_groups(&target.address, &plan)?;
            report.runs.push(measure(&target, &plan, options, &means)?);
            if let Some(per_s) = options.flood {
                let _flood = Flood::start(target.address.server(Role::Viewer, 0)?.address, per_s, &means.cpus)?;
                target.name = format!("{}, {per_s} first packets/s", target.name);
                report.runs.push(measure(&target, &plan, options, &means)?);
            }
        }
    }
    println!("{}", report.table());
    match &options.out {
        Some(dir) => report.write(dir),
        None => Ok(()),
    }
}

/// What is measured one after the other; without a word about it, whatever the server speaks.
fn transports(options: &Options) -> Vec<Option<Transport>> {
    if options.transport.is_empty() { vec![None] } else { options.transport.iter().copied().map(Some).collect() }
}

fn read_recording(file: &std::path::Path) -> anyhow::Result<recording::Recording> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    recording::parse(&text).with_context(|| format!("{} is not a file of recorded comments", file.display()))
}

/// The CPUs of the server and of the generator: those asked for, or half of what there is for each.
fn cpus(options: &Options) -> anyhow::Result<(CpuList, CpuList)> {
    let allowed = target::allowed_cpus();
    ensure!(!allowed.is_empty(), "there is no CPU to use");
    let (first, second) = allowed.split_at(allowed.len().div_ceil(2));
    // On a single CPU both share it; the report shows how long each waited for the other.
    let second = if second.is_empty() { first } else { second };
    let server = options.server_cpus.clone().unwrap_or_else(|| CpuList(first.to_vec()));
    let generator = options.generator_cpus.clone().unwrap_or_else(|| match &options.server_cpus {
        None => CpuList(second.to_vec()),
        Some(server) => {
            let others: Vec<usize> = allowed.iter().copied().filter(|cpu| !server.0.contains(cpu)).collect();
            CpuList(if others.is_empty() { allowed.clone() } else { others })
        }
    });
    Ok((server, generator))
}

/// How many processes the generator needs.
fn processes(options: &Options, plan: &Plan) -> anyhow::Result<usize> {
    let sockets = plan.rooms.viewers + plan.slow + plan.senders;
    let processes = options.generators.unwrap_or(sockets.div_ceil(SOCKETS_PER_PROCESS)).max(1);
    ensure!(
        processes == 1 || !matches!(plan.load, Load::Closed { .. }),
        "several generators need a --rate: none of them sees how many comments are on their way"
    );
    Ok(processes)
}

/// One line that says what the sockets do.
fn work(plan: &Plan, options: &Options) -> String {
    format!(
        "{}: {} sockets ({} slow) in {} rooms, {} senders · {}, payload {} B of text · heartbeat {} s · {}",
        name(plan.scenario),
        plan.rooms.viewers + plan.slow,
        plan.slow,
        plan.rooms.count,
        plan.senders,
        spoken(options),
        plan.payload,
        plan.heartbeat_s,
        settings(options),
    )
}

fn spoken(options: &Options) -> String {
    let language = match options.adapter {
        Adapter::Barrage => name(options.protocol),
        other => name(other),
    };
    let tls = match (options.tls, options.transport.iter().any(|transport| *transport != Transport::Ws)) {
        (None, false) => "no TLS".into(),
        (handshakes, _) => format!("TLS ({})", name(handshakes.unwrap_or(Handshakes::Full))),
    };
    format!("{language}, {}, {tls}", if options.deflate { "deflated" } else { "not compressed" })
}

/// What is known of the server's settings: those of one that is started here.
fn settings(options: &Options) -> String {
    if options.start.is_some() || !options.server.is_empty() {
        return "the server's own settings".into();
    }
    let stored = if options.no_store { "nothing stored" } else { "stored durably before it is acknowledged" };
    let changed: Vec<String> = options.settings().iter().map(|(key, value)| format!("{key}={value}")).collect();
    let changed = if changed.is_empty() { "settings by default, limits lifted".into() } else { changed.join(" ") };
    format!("{stored} · {changed}")
}

/// The command line, without what proves who we are.
fn command() -> String {
    let mut hidden = false;
    let shown = std::env::args().map(|arg| {
        let secret = std::mem::replace(&mut hidden, arg == "--secret");
        let inline = arg.starts_with("--secret=");
        if secret {
            "…".into()
        } else if inline {
            "--secret=…".into()
        } else {
            arg
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A choice as it is written on the command line.
fn name(choice: impl clap::ValueEnum) -> String {
    choice.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What the generator is made of.
struct Means {
    processes: usize,
    threads: usize,
    cpus: CpuList,
}

/// Plays the scenario on one target.
fn measure(target: &Target, plan: &Plan, options: &Options, means: &Means) -> anyhow::Result<Run> {
    eprintln!("{}", target.name);
    let swarm = Swarm::start(plan, target, &means.cpus, means.threads, means.processes)?;
    swarm.open(FIRST_SHARE)?;
    let opened = swarm.open(1.0)?;
    eprintln!("  {} sockets open after {:.2} s", opened.sockets, opened.seconds);
    let mut run = Run { target: target.name.clone(), opened: Some(opened), back: None, round: None, found: None };
    match (options.search, plan.scenario) {
        (true, Scenario::Connect | Scenario::Idle | Scenario::Replay | Scenario::Reconnect) => {
            anyhow::bail!("--search needs a scenario with a rate");
        }
        (true, _) => find_capacity(&swarm, plan, options, &mut run)?,
        (false, Scenario::Reconnect) => {
            let mut back = None;
            let round = swarm.round(&plan.load, plan.warm_up_s, plan.seconds, &mut |swarm| {
                eprintln!("  all reading sockets {}", if options.move_to.is_some() { "move" } else { "are cut" });
                back = Some(swarm.cut(options.move_to)?);
                Ok(())
            })?;
            (run.back, run.round) = (back, Some(round));
        }
        (false, _) => run.round = Some(swarm.round(&plan.load, plan.warm_up_s, plan.seconds, &mut |_| Ok(()))?),
    }
    Ok(run)
}

/// Searches for the highest rate at which p99 and loss hold.
fn find_capacity(swarm: &Swarm, plan: &Plan, options: &Options, run: &mut Run) -> anyhow::Result<()> {
    let start = match plan.load {
        Load::Paced { per_s } => per_s,
        _ => 10.0,
    };
    let mut best: Option<Round> = None;
    let found = search::highest(start, |rate| {
        eprintln!("  trying {rate:.0} comments/s");
        let round = swarm.round(&Load::Paced { per_s: rate }, plan.warm_up_s, plan.seconds, &mut |_| Ok(()))?;
        let verdict = verdict(&round, options);
        if verdict == Verdict::Holds {
            best = Some(round);
        }
        anyhow::Ok(verdict)
    })?;
    (run.found, run.round) = (Some(found), best);
    Ok(())
}

fn verdict(round: &Round, options: &Options) -> Verdict {
    let (latency, share) = match round.expected {
        0 => (round.answer.p99_ms, round::ratio(round.answer.count as f64, round.offered as f64)),
        _ => (round.delivery.p99_ms, round.arrived_share),
    };
    let why = if 1.0 - share > options.loss {
        format!("only {:.2} % arrived", share * 100.0)
    } else if latency > options.p99_ms {
        format!("p99 {latency:.1} ms")
    } else {
        return Verdict::Holds;
    };
    Verdict::Fails(if round.generator_limited { format!("{why}; the generator was the limit") } else { why })
}
