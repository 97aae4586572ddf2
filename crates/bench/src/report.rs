//! What a measurement found, as a table for people, JSON and CSV for programs; `html` draws it. Every
//! figure comes with what it was measured with, because it means nothing without.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::html;
use crate::procfs::Host;
use crate::round::Round;
use crate::search::{Found, Verdict};
use crate::swarm::Opened;

/// A measurement of one or more targets on the same work.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this program.
    pub version: String,
    /// How it was called.
    pub command: String,
    /// Where.
    pub host: Host,
    /// The work: sockets, rooms, payload and the like.
    pub work: String,
    /// CPUs of servers started here.
    pub server_cpus: String,
    /// CPUs of the generator.
    pub generator_cpus: String,
    /// Targets in the order they were measured; the floor first.
    pub runs: Vec<Run>,
}

/// One target's figures.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// What was measured.
    pub target: String,
    /// Opening the sockets.
    pub opened: Option<Opened>,
    /// Opening them again after all were cut.
    pub back: Option<Opened>,
    /// The round; of a search the best one that held.
    pub round: Option<Round>,
    /// What a search found.
    pub found: Option<Found>,
}

impl Report {
    /// The lines above the table.
    #[must_use]
    pub fn head(&self) -> Vec<String> {
        let Host { kernel, cpu, cpus, memory_gib } = &self.host;
        let list = |cpus: &str| if cpus.contains(',') { format!("CPUs {cpus}") } else { format!("CPU {cpus}") };
        vec![
            self.command.clone(),
            format!("barrage {} · Linux {kernel} · {cpus} × {cpu} · {memory_gib} GiB", self.version),
            format!(
                "server on {}, generator on {} of the same host · loopback",
                list(&self.server_cpus),
                list(&self.generator_cpus)
            ),
            self.work.clone(),
        ]
    }

    /// Names and values, one column for each run.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, Vec<String>)> {
        let floor = self.runs.first().filter(|_| self.runs.len() > 1);
        let floor = floor.and_then(|run| run.round.as_ref()?.server).map(|cost| cost.us_per_delivery);
        let columns: Vec<Vec<(&'static str, String)>> = self.runs.iter().map(|run| column(run, floor)).collect();
        let mut rows: Vec<(&'static str, Vec<String>)> = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            for (name, value) in column {
                let at = rows.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                    rows.push((name, vec!["–".into(); columns.len()]));
                    rows.len() - 1
                });
                if let Some(cell) = rows.get_mut(at).and_then(|(_, cells)| cells.get_mut(i)) {
                    cell.clone_from(value);
                }
            }
        }
        rows
    }

    /// What a reader has to know before believing a figure.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.runs.iter().flat_map(warnings).collect()
    }

    /// The table, for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let rows = self.rows();
        let width = |text: &str| text.chars().count();
        let name_width = rows.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
        let mut columns: Vec<Vec<String>> = self.runs.iter().map(|run| vec![run.target.clone()]).collect();
        for (_, cells) in &rows {
            columns.iter_mut().zip(cells).for_each(|(column, cell)| column.push(cell.clone()));
        }
        let widths: Vec<usize> =
            columns.iter().map(|column| column.iter().map(|cell| width(cell)).max().unwrap_or(0)).collect();
        let mut out = self.head().join("\n") + "\n\n";
        for line in 0..=rows.len() {
            let name = line.checked_sub(1).and_then(|row| rows.get(row)).map_or("", |(name, _)| name);
            let _ = write!(out, "{name}{}", " ".repeat(name_width - width(name)));
            for (column, wide) in columns.iter().zip(&widths) {
                let cell = column.get(line).map_or("", String::as_str);
                let _ = write!(out, "   {}{cell}", " ".repeat(wide - width(cell)));
            }
            out.push('\n');
        }
        for run in &self.runs {
            for (rate, verdict) in run.found.iter().flat_map(|found| &found.tried) {
                let verdict = match verdict {
                    Verdict::Holds => "holds",
                    Verdict::Fails(why) => why,
                };
                let _ = writeln!(out, "  {}: {rate:.0}/s {verdict}", run.target);
            }
        }
        self.warnings().iter().for_each(|warning| out.push_str(&format!("! {warning}\n")));
        out
    }

    /// Writes report.json, samples.csv, rounds.csv and report.html.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let json = serde_json::to_string_pretty(self)?;
        let files = [
            ("report.json", json),
            ("samples.csv", self.samples()),
            ("rounds.csv", self.csv()),
            ("report.html", html::page(self)),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn csv(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let line = |name: &str, cells: &[String]| {
            let cells = cells.iter().map(|cell| format!(",{}", quoted(cell)));
            quoted(name) + &cells.collect::<String>() + "\n"
        };
        let targets: Vec<String> = self.runs.iter().map(|run| run.target.clone()).collect();
        let rows = self.rows();
        line("figure", &targets) + &rows.iter().map(|(name, cells)| line(name, cells)).collect::<String>()
    }

    fn samples(&self) -> String {
        let mut out = String::from(
            "target,at_s,open,sent_per_s,accepted_per_s,deliveries_per_s,p50_ms,p99_ms,server_cpu,generator_cpu,resident_mib\n",
        );
        for run in &self.runs {
            for s in run.round.iter().flat_map(|round| &round.samples) {
                let _ = writeln!(
                    out,
                    "\"{}\",{:.3},{},{:.1},{:.1},{:.1},{:.3},{:.3},{:.4},{:.4},{:.2}",
                    run.target,
                    s.at_s,
                    s.open,
                    s.sent_per_s,
                    s.accepted_per_s,
                    s.deliveries_per_s,
                    s.p50_ms,
                    s.p99_ms,
                    s.server_cpu,
                    s.generator_cpu,
                    s.resident_mib
                );
            }
        }
        out
    }
}

fn column(run: &Run, floor: Option<f64>) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(opened) = &run.opened {
        opening(
            opened,
            [
                "connect: sockets",
                "connect: seconds until the last is in",
                "connect: p50 · p99 ms",
                "connect: µs CPU a handshake",
                "connect: bytes of memory each",
                "connect: kernel bytes each, both ends",
            ],
            &mut rows,
        );
    }
    if let Some(back) = &run.back {
        opening(
            back,
            [
                "back: sockets",
                "back: seconds until the last is in",
                "back: p50 · p99 ms",
                "back: µs CPU a handshake",
                "back: bytes of memory each",
                "back: kernel bytes each, both ends",
            ],
            &mut rows,
        );
    }
    if let Some(found) = &run.found {
        rows.push(("capacity, comments/s", format!("{:.0}", found.highest)));
    }
    if let Some(round) = &run.round {
        figures(round, floor, &mut rows);
    }
    rows
}

fn opening(opened: &Opened, names: [&'static str; 6], rows: &mut Vec<(&'static str, String)>) {
    let maybe = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.1}"));
    let values = [
        grouped(opened.sockets as f64),
        format!("{:.2}", opened.seconds),
        format!("{:.1} · {:.1}", opened.handshake.p50_ms, opened.handshake.p99_ms),
        maybe(opened.us_per_handshake),
        opened.bytes_per_connection.map_or("–".into(), grouped),
        grouped(opened.kernel_bytes_per_connection),
    ];
    rows.extend(names.into_iter().zip(values));
}

fn figures(round: &Round, floor: Option<f64>, rows: &mut Vec<(&'static str, String)>) {
    let quantiles = |q: &crate::measure::Quantiles| {
        if q.count == 0 { "–".into() } else { format!("{:.1} · {:.1} · {:.1}", q.p50_ms, q.p99_ms, q.p999_ms) }
    };
    let mut row = |name, value: String| rows.push((name, value));
    row("load, comments", round.load.clone());
    row("seconds measured", format!("{:.1}", round.seconds));
    if round.offered > 0 {
        row("accepted/s", grouped(round.accepted_per_s));
        row(
            "refused · held · unsent",
            format!("{} · {} · {}", round.total.refused, round.total.held, round.total.unsent),
        );
        row("publish → answer, p50 · p99 · p99.9 ms", quantiles(&round.answer));
    }
    if round.expected > 0 {
        row("deliveries/s", grouped(round.deliveries_per_s));
        row("offered that arrived", format!("{:.3} %", round.arrived_share * 100.0));
        row(
            "lost · omitted · of these merged",
            format!("{} · {} · {}", round.lost, round.total.omitted, round.total.merged),
        );
        row("comments that some were not given", round.incomplete.to_string());
        row("publish → socket, p50 · p99 · p99.9 ms", quantiles(&round.delivery));
        row("publish → last socket, p50 · p99 · p99.9 ms", quantiles(&round.last_socket));
        row("batch: comments · bytes", format!("{:.2} · {:.0}", round.batch_mean, round.batch_bytes_mean));
        row("batches/s · MB/s", format!("{} · {:.1}", grouped(round.batches_per_s), round.bytes_per_s / 1e6));
        row("bytes a delivery", format!("{:.0}", round.bytes_per_delivery));
        row("other messages/s", grouped(round.others_per_s));
        row("batches a read", format!("{:.2}", round.batches_per_read));
    }
    if round.total.batches_lost > 0 {
        row("batches lost", grouped(round.total.batches_lost as f64));
    }
    if round.resumed.count > 0 {
        row("cut or moved → next comment, p50 · p99 · p99.9 ms", quantiles(&round.resumed));
    }
    if round.total.slow_deliveries + round.total.slow_omitted > 0 {
        row("slow sockets: given · omitted", format!("{} · {}", round.total.slow_deliveries, round.total.slow_omitted));
    }
    if let Some(cost) = &round.server {
        if round.counts.deliveries > 0 {
            row("µs CPU a delivery", format!("{:.3}", cost.us_per_delivery));
        }
        if let Some(floor) = floor.filter(|_| round.counts.deliveries > 0) {
            row("× floor", format!("{:.2}", crate::round::ratio(cost.us_per_delivery, floor)));
        }
        if round.counts.accepted > 0 {
            row("µs CPU a comment accepted", format!("{:.1}", cost.us_per_accepted));
        }
        row("server CPUs · of it user", format!("{:.4} · {:.0} %", cost.cpus, cost.user_share * 100.0));
        row("server waited for a CPU", format!("{:.0} %", cost.waited_share * 100.0));
        row("server memory, MiB", format!("{:.1}", cost.resident_mib));
    }
    row("heartbeats/s", grouped(round.counts.heartbeats as f64 / round.seconds));
    row(
        "generator: busiest thread · CPUs",
        format!("{:.0} % · {:.2}", round.generator_busiest * 100.0, round.generator_cpus),
    );
    if round.late.count > 0 {
        row("generator: sent late, p50 · p99 · p99.9 ms", quantiles(&round.late));
    }
    row("others on the machine, CPUs", format!("{:.2}", round.foreign_cpus));
}

fn warnings(run: &Run) -> Vec<String> {
    let mut out = Vec::new();
    let name = &run.target;
    if [&run.opened, &run.back].into_iter().flatten().any(|opened| opened.generator_limited) {
        out.push(format!("{name}: while sockets opened the generator was the limit, not the server"));
    }
    let Some(round) = &run.round else { return out };
    if round.generator_limited {
        out.push(format!("{name}: the generator was the limit, not the server: give it more CPUs or threads"));
    }
    if round.foreign_cpus > 0.1 {
        out.push(format!(
            "{name}: others used {:.2} CPUs of this machine: the figures are contended",
            round.foreign_cpus
        ));
    }
    if round.load.ends_with("in flight") && round.expected > 0 {
        out.push(format!("{name}: as fast as it goes, latency is what the comments on their way make it"));
    }
    for (reason, n) in round.refusals.iter().chain(&round.endings) {
        out.push(format!("{name}: {n} × {reason}"));
    }
    out
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(targets: &[&str]) -> Report {
        let round = Round { seconds: 1.0, load: "10/s".into(), offered: 10, expected: 100, ..Round::default() };
        let run = |target: &&str| Run {
            target: (*target).into(),
            opened: None,
            back: None,
            round: Some(round.clone()),
            found: Some(Found { highest: 10.0, tried: vec![(20.0, Verdict::Fails("p99 200 ms".into()))] }),
        };
        Report {
            version: "0".into(),
            command: "barrage bench".into(),
            host: Host { kernel: "k".into(), cpu: "c".into(), cpus: 2, memory_gib: 1 },
            work: "work".into(),
            server_cpus: "0".into(),
            generator_cpus: "1".into(),
            runs: targets.iter().map(run).collect(),
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0.0, 999.0, 1_000.0, 1_234_567.4].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn every_run_has_a_cell_in_every_row() {
        let report = report(&["floor", "a \"b\""]);
        assert!(report.rows().iter().all(|(_, cells)| cells.len() == 2));
        assert!(report.table().contains("20/s p99 200 ms"));
        assert!(report.csv().starts_with("\"figure\",\"floor\",\"a \"\"b\"\"\"\n"));
    }

    #[test]
    fn all_files_are_written() {
        let dir = tempfile::tempdir().unwrap();
        report(&["one"]).write(dir.path()).unwrap();
        for name in ["report.json", "samples.csv", "rounds.csv", "report.html"] {
            assert!(dir.path().join(name).metadata().unwrap().len() > 0, "{name}");
        }
    }
}
