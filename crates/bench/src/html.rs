//! The report as one page that needs nothing else: the table, and charts as inline SVG.

use std::fmt::Write as _;

use crate::report::Report;
use crate::round::Sample;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 220.0;
/// Room for the axes: left, bottom, right and top.
const MARGIN: (f64, f64, f64, f64) = (64.0, 28.0, 28.0, 12.0);
const COLOURS: [&str; 4] = ["#888", "#d6336c", "#1c7ed6", "#2f9e44"];
const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;color:#222}\
    table{border-collapse:collapse;margin:1rem 0}td,th{padding:.15rem .8rem;border-bottom:1px solid #ddd;text-align:right;\
    font-variant-numeric:tabular-nums}td:first-child{text-align:left}code{background:#f3f3f3;padding:.2rem .4rem;display:block}\
    figure{display:inline-block;margin:.5rem}figcaption{font-weight:600}.warning{color:#b02a37}svg text{font-size:11px;fill:#555}\
    @media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#262626}td,th{border-color:#333}svg text{fill:#aaa}}";

/// What a chart over time shows of each second.
type Value = fn(&Sample) -> f64;

/// One line of a chart.
struct Line<'a> {
    name: &'a str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>barrage bench</title><style>{STYLE}</style><h1>barrage bench</h1>"
    );
    for (i, line) in report.head().iter().enumerate() {
        let (open, close) = if i == 0 { ("<code>", "</code>") } else { ("<p>", "</p>") };
        let _ = write!(out, "{open}{}{close}", escaped(line));
    }
    for warning in report.warnings() {
        let _ = write!(out, "<p class=\"warning\">{}</p>", escaped(&warning));
    }
    out.push_str(&table(report));
    out.push_str(&chart("Publish → socket: share of deliveries by time", "ms", "%", &latency(report), true));
    let per_second: [(&str, &str, Value); 5] = [
        ("Deliveries a second", "", |sample| sample.deliveries_per_s),
        ("Comments accepted a second", "", |sample| sample.accepted_per_s),
        ("Publish → socket, p99", "ms", |sample| sample.p99_ms),
        ("CPU of the server", "CPUs", |sample| sample.server_cpu),
        ("Resident memory of the server", "MiB", |sample| sample.resident_mib),
    ];
    for (title, unit, value) in per_second {
        out.push_str(&chart(title, "s", unit, &over_time(report, value), false));
    }
    out + "</html>\n"
}

fn table(report: &Report) -> String {
    let mut out = String::from("<table><tr><th></th>");
    report.runs.iter().for_each(|run| {
        let _ = write!(out, "<th>{}</th>", escaped(&run.target));
    });
    for (name, cells) in report.rows() {
        let _ = write!(out, "</tr><tr><td>{}</td>", escaped(name));
        cells.iter().for_each(|cell| {
            let _ = write!(out, "<td>{}</td>", escaped(cell));
        });
    }
    out + "</tr></table>"
}

fn over_time(report: &Report, value: Value) -> Vec<Line<'_>> {
    let lines = report.runs.iter().zip(COLOURS.iter().cycle());
    lines
        .map(|(run, colour)| {
            let samples = run.round.iter().flat_map(|round| &round.samples);
            Line { name: &run.target, colour, points: samples.map(|sample| (sample.at_s, value(sample))).collect() }
        })
        .collect()
}

fn latency(report: &Report) -> Vec<Line<'_>> {
    let lines = report.runs.iter().zip(COLOURS.iter().cycle());
    lines
        .filter_map(|(run, colour)| {
            let bars = &run.round.as_ref()?.bars;
            let all = bars.iter().map(|(_, count)| count).sum::<u64>().max(1) as f64;
            let points = bars.iter().map(|(ms, count)| (ms.max(0.01).log10(), *count as f64 * 100.0 / all)).collect();
            Some(Line { name: &run.target, colour, points })
        })
        .collect()
}

/// A chart; nothing when there is nothing to draw. With `log` the x values are powers of ten.
fn chart(title: &str, x_unit: &str, y_unit: &str, lines: &[Line<'_>], log: bool) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let top = all().map(|(_, y)| *y).fold(0.0, f64::max) * 1.1;
    let (first, last) = all().fold((f64::MAX, f64::MIN), |(first, last), (x, _)| (first.min(*x), last.max(*x)));
    if top <= 0.0 || first >= last {
        return String::new();
    }
    let (left, bottom, right, above) = MARGIN;
    let at = |x: f64, y: f64| {
        let across = left + (x - first) / (last - first) * (WIDTH - left - right);
        (across, HEIGHT - bottom - y / top * (HEIGHT - bottom - above))
    };
    let mut out = format!("<figure><figcaption>{title}</figcaption><svg width=\"{WIDTH}\" height=\"{HEIGHT}\">");
    for step in 0..=4 {
        let y = top * f64::from(step) / 4.0;
        let (_, v) = at(first, y);
        let _ = write!(
            out,
            "<line x1=\"{left}\" x2=\"{}\" y1=\"{v:.1}\" y2=\"{v:.1}\" stroke=\"#8884\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} {y_unit}</text>",
            WIDTH - right,
            left - 4.0,
            v + 4.0,
            short(y)
        );
        let x = first + (last - first) * f64::from(step) / 4.0;
        let shown = if log { 10_f64.powf(x) } else { x };
        let (h, _) = at(x, 0.0);
        let _ = write!(
            out,
            "<text x=\"{h:.1}\" y=\"{}\" text-anchor=\"middle\">{} {x_unit}</text>",
            HEIGHT - 8.0,
            short(shown)
        );
    }
    for (i, Line { name, colour, points }) in lines.iter().enumerate() {
        let points: Vec<String> =
            points.iter().map(|(x, y)| at(*x, *y)).map(|(h, v)| format!("{h:.1},{v:.1}")).collect();
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\" style=\"fill:{colour}\">{}</text>",
            points.join(" "),
            WIDTH - right,
            14 + 14 * i,
            escaped(name)
        );
    }
    out + "</svg></figure>"
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.1}M", value / 1e6),
        v if v >= 1e4 => format!("{:.0}k", value / 1e3),
        v if v >= 10.0 || v == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
