//! The report as one page that needs nothing else: the table, and charts as inline SVG.

use std::fmt::Write as _;

use crate::report::Report;
use crate::round::Sample;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 230.0;
/// Room for the axes: left, bottom, right and top.
const MARGIN: (f64, f64, f64, f64) = (70.0, 28.0, 16.0, 10.0);
/// The floor is grey; more targets than colours begin again.
const COLOURS: [&str; 6] = ["#868e96", "#d6336c", "#1c7ed6", "#2f9e44", "#e8590c", "#7048e8"];
const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;max-width:1180px;margin:2rem auto;padding:0 1rem;color:#222}\
    h1{margin-bottom:.3rem}p{margin:.2rem 0}code{background:#f3f3f3;padding:.3rem .5rem;display:block;overflow-x:auto}\
    .tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:.7rem 0}.tile{border:1px solid #ddd;border-radius:8px;padding:.5rem .9rem;min-width:11.5rem}\
    .tile b{display:block;font-size:1.35rem;font-weight:600;font-variant-numeric:tabular-nums}\
    table{border-collapse:collapse;margin:1rem 0}td,th{padding:.15rem .8rem;border-bottom:1px solid #ddd;text-align:right;\
    font-variant-numeric:tabular-nums}td:first-child{text-align:left}.warning{color:#b02a37}\
    figure{display:inline-block;margin:.6rem .4rem;vertical-align:top}figcaption{font-weight:600}\
    .legend{font-weight:400;font-size:12px;display:block}.legend span{margin-right:1rem}svg text{font-size:11px;fill:#555}\
    @media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#262626}td,th,.tile{border-color:#333}svg text{fill:#aaa}}";

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
    out.push_str(&tiles(report));
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
    out.push_str(&table(report));
    out + "</html>\n"
}

/// What most people look for first, of every target.
fn tiles(report: &Report) -> String {
    let mut out = String::from("<div class=\"tiles\">");
    for (run, colour) in report.runs.iter().zip(COLOURS.iter().cycle()) {
        let Some(round) = &run.round else { continue };
        let cost = round.server.filter(|_| round.counts.deliveries > 0).map(|cost| cost.us_per_delivery);
        let p99 = (round.last_socket.count > 0).then_some(round.last_socket.p99_ms);
        let tiles = [
            (cost, "µs CPU a delivery"),
            ((round.expected > 0).then_some(round.deliveries_per_s), "deliveries a second"),
            (p99, "ms, p99 until the last socket"),
            (round.server.map(|cost| cost.cpus), "CPUs of the server"),
        ];
        out.push_str("<div class=\"tiles\">");
        for (value, name) in tiles {
            let Some(value) = value else { continue };
            let (value, target) = (short(value), escaped(&run.target));
            let _ = write!(
                out,
                "<div class=\"tile\"><b style=\"color:{colour}\">{value}</b>{name}<br><small>{target}</small></div>"
            );
        }
        out.push_str("</div>");
    }
    out
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
    let top = all().map(|(_, y)| *y).fold(0.0, f64::max) * 1.05;
    let (first, last) = all().fold((f64::MAX, f64::MIN), |(first, last), (x, _)| (first.min(*x), last.max(*x)));
    if top <= 0.0 || first >= last {
        return String::new();
    }
    let (left, bottom, right, above) = MARGIN;
    let at = |x: f64, y: f64| {
        let across = left + (x - first) / (last - first) * (WIDTH - left - right);
        (across, HEIGHT - bottom - y / top * (HEIGHT - bottom - above))
    };
    let mut out =
        format!("<figure><figcaption>{title}{}</figcaption><svg width=\"{WIDTH}\" height=\"{HEIGHT}\">", legend(lines));
    for y in ticks(0.0, top) {
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
    }
    for x in if log { decades(first, last) } else { ticks(first, last) } {
        let (h, _) = at(x, 0.0);
        // Powers of ten are not exact.
        let shown = short(if log { (10_f64.powf(x) * 1e6).round() / 1e6 } else { x });
        let _ = write!(out, "<text x=\"{h:.1}\" y=\"{}\" text-anchor=\"middle\">{shown} {x_unit}</text>", HEIGHT - 8.0);
    }
    for Line { colour, points, .. } in lines {
        let points: Vec<String> =
            points.iter().map(|(x, y)| at(*x, *y)).map(|(h, v)| format!("{h:.1},{v:.1}")).collect();
        let points = points.join(" ");
        let _ = write!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>");
    }
    out + "</svg></figure>"
}

fn legend(lines: &[Line<'_>]) -> String {
    let entry = |line: &Line<'_>| format!("<span style=\"color:{}\">■ {}</span>", line.colour, escaped(line.name));
    format!("<span class=\"legend\">{}</span>", lines.iter().map(entry).collect::<String>())
}

/// Round numbers within a range, about five of them.
fn ticks(first: f64, last: f64) -> Vec<f64> {
    let rough = (last - first) / 5.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let from = (first / step).ceil() as i64;
    let to = (last / step).floor() as i64;
    // Zero is zero, not minus zero.
    (from..=to).map(|n| n as f64 * step + 0.0).collect()
}

/// The exponents of 1, 2, 5, 10, 20 … within a range of exponents; only the decades when those are many.
fn decades(first: f64, last: f64) -> Vec<f64> {
    let digits: &[f64] = if last - first < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let decades = first.floor() as i32..=last.ceil() as i32;
    let all = decades.flat_map(|decade| digits.iter().map(move |digit| f64::from(decade) + digit.log10()));
    all.filter(|x| (first..=last).contains(x)).collect()
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.1}M", value / 1e6),
        v if v >= 1e4 => format!("{:.0}k", value / 1e3),
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        assert_eq!(ticks(0.0, 26.0), [0.0, 10.0, 20.0]);
        assert_eq!(ticks(-1.0, 10.0), [0.0, 5.0, 10.0]);
        let shown: Vec<String> = decades(0.3, 2.1).into_iter().map(|x| short(10_f64.powf(x).round())).collect();
        assert_eq!(shown, ["2", "5", "10", "20", "50", "100"]);
    }

    #[test]
    fn values_are_as_long_as_they_need_to_be() {
        let all = [0.0, 0.1234, 3.5678, 31.24, 512.3, 12_345.0, 2_500_000.0].map(short);
        assert_eq!(all, ["0", "0.123", "3.57", "31.2", "512", "12k", "2.5M"]);
    }
}
