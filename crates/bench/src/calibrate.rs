//! `--calibrate`: the figures that `barrage plan` rests on, measured on this machine in well under a minute.
//!
//! A few short runs against servers that are started for them, each with sockets enough to tell a cost from noise. A run that
//! fails, or that begins too late, leaves its figures out: the plan then keeps its own.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use crate::options::{Options, Scenario};
use crate::report::Run;
use crate::target::Target;
use crate::{Means, cpus, measure, prepare, procfs, scenario, target};

/// No run begins after this.
const LAST_BEGIN: Duration = Duration::from_secs(27);
/// Fewer figures are no calibration.
const FIGURES_MIN: usize = 5;

/// Measures and writes the figures to `--out`, or to standard output.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (server_cpus, generator_cpus) = cpus(options)?;
    target::pin(&generator_cpus).context("cannot use the CPUs of --generator-cpus")?;
    let mut figures = Figures::default();
    for step in [room, publish, full, chat] {
        if begun.elapsed() > LAST_BEGIN {
            eprintln!("this machine is busy: the remaining figures are left out");
            break;
        }
        let (options, note) = step(options);
        let run = (|| {
            let plan = scenario::plan(&options, None)?;
            let means = Means {
                processes: 1,
                threads: options.threads.unwrap_or(generator_cpus.0.len()),
                cpus: generator_cpus.clone(),
            };
            let mut target = Target::measured(&options, &server_cpus, None)?;
            target.address.groups = prepare::found_groups(&target.address, &plan)?;
            measure(&target, &plan, &options, &means)
        })();
        match run {
            Ok(run) => note(&run, &mut figures),
            Err(error) => eprintln!("left out: {error:#}"),
        }
    }
    ensure!(figures.0.len() >= FIGURES_MIN, "only {} figures could be measured", figures.0.len());
    let calibration = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "host": procfs::host(),
        "seconds": begun.elapsed().as_secs_f64(),
        "measured": figures.0,
    });
    write(&format!("{calibration:#}\n"), options.out.as_deref())
}

fn write(text: &str, out: Option<&Path>) -> anyhow::Result<()> {
    match out {
        Some(file) => std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display())),
        None => std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output"),
    }
}

/// What was measured, under the names of the plan.
#[derive(Default)]
struct Figures(Map<String, Value>);

impl Figures {
    /// Notes a figure. What could not be told from nothing is left out.
    fn note(&mut self, name: &str, value: Option<f64>, unit: &str) {
        if let Some(value) = value.filter(|value| value.is_finite() && *value > 0.0) {
            self.0.insert(name.into(), json!({ "value": (value * 1_000.0).round() / 1_000.0, "unit": unit }));
        }
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name)?["value"].as_f64()
    }
}

/// The options of a run, and what follows from it.
type Step = (Options, fn(&Run, &mut Figures));

fn short(options: &Options, scenario: Scenario, sockets: usize, rate: f64) -> Options {
    Options {
        scenario,
        preset: None,
        sockets: Some(sockets),
        rate: Some(rate),
        seconds: Some(4.0),
        warm_up: 1.0,
        out: None,
        ..options.clone()
    }
}

/// One comment at a time to a thousand sockets: what a send costs, and a socket.
fn room(options: &Options) -> Step {
    fn note(run: &Run, figures: &mut Figures) {
        if let Some(opened) = &run.opened {
            figures.note("handshake_us", opened.us_per_handshake, "us");
            figures.note("idle_socket_bytes", opened.bytes_per_connection, "bytes");
            // Both ends are on this machine; a server has one of them.
            figures.note("kernel_socket_bytes", Some(opened.kernel_bytes_per_connection / 2.0), "bytes");
        }
        let Some(round) = &run.round else { return };
        figures.note("comment_bytes", Some(round.bytes_per_delivery), "bytes");
        let per_send = round.server.map(|server| server.cpus * 1e6 / round.batches_per_s);
        figures.note("send_us", per_send, "us");
    }
    (short(options, Scenario::Room, 1_000, 10.0), note)
}

/// As fast as it goes, nobody reads: what a comment costs on its way in.
fn publish(options: &Options) -> Step {
    fn note(run: &Run, figures: &mut Figures) {
        let cost = run.round.as_ref().and_then(|round| round.server);
        figures.note("publish_us", cost.map(|server| server.us_per_accepted), "us");
    }
    (short(options, Scenario::Publish, 0, 0.0), note)
}

/// As fast as it goes, many comments in a send: what a further one costs.
fn full(options: &Options) -> Step {
    fn note(run: &Run, figures: &mut Figures) {
        let (Some(round), Some(send_us), Some(publish_us)) =
            (&run.round, figures.value("send_us"), figures.value("publish_us"))
        else {
            return;
        };
        let sends_and_way_in = send_us * round.batches_per_s + publish_us * round.accepted_per_s;
        let rest = round.server.map(|server| (server.cpus * 1e6 - sends_and_way_in) / round.deliveries_per_s);
        figures.note("delivery_us", rest, "us");
    }
    (short(options, Scenario::Room, 300, 0.0), note)
}

/// Private messages at a rate that every machine takes.
fn chat(options: &Options) -> Step {
    fn note(run: &Run, figures: &mut Figures) {
        let cost = run.round.as_ref().and_then(|round| round.server);
        figures.note("message_us", cost.map(|server| server.us_per_accepted), "us");
    }
    (short(options, Scenario::Chat, 200, 300.0), note)
}
