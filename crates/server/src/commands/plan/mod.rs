//! `plan`: how many machines of each kind a load needs, and what they cost.
//!
//! Reads flags, an optional price list and an optional calibration; prints every line with its formula. Contacts nothing.
//! [`model`] has the figures and the formulas, [`formula`] evaluates them.

mod formula;
mod model;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use self::model::{CHOSEN, LINES, MEASURED, Measured, PRICES};
use crate::cli::Plan;

/// Prints the plan.
pub fn run(args: &Plan) -> anyhow::Result<()> {
    let plan = plan(args)?;
    let text = if args.json { serde_json::to_string_pretty(&plan)? } else { table(&plan) };
    super::say(text.trim_end())
}

/// The plan as JSON: `{inputs, measured, lines}`.
fn plan(args: &Plan) -> anyhow::Result<Value> {
    let inputs = [
        ("viewers", args.viewers),
        ("comments_per_s", args.comments_per_s),
        ("rooms", args.rooms),
        ("messages_per_day", args.messages_per_day),
        ("retention_days", args.retention_days),
    ];
    let mut known: BTreeMap<String, (f64, &str)> =
        all_figures().map(|it| (it.name.to_owned(), (it.value, it.unit))).collect();
    if let Some(file) = &args.prices {
        overwrite(file, PRICES, &mut known)?;
    }
    if let Some(file) = &args.calibration {
        overwrite(file, &[], &mut known)?;
    }
    let mut figures: BTreeMap<String, f64> = known.iter().map(|(name, (value, _))| (name.clone(), *value)).collect();
    figures.extend(inputs.iter().map(|(name, value)| ((*name).to_owned(), *value)));
    let mut lines = Vec::with_capacity(LINES.len());
    for line in LINES {
        let value = formula::evaluate(line.formula, &figures).with_context(|| format!("the line {}", line.name))?;
        figures.insert(line.name.to_owned(), value);
        let mut shown = json!({ "name": line.name, "value": value, "unit": line.unit, "formula": line.formula });
        if line.per_node {
            shown["scope"] = json!("per_node");
        }
        lines.push(shown);
    }
    let measured: serde_json::Map<String, Value> =
        known.into_iter().map(|(name, (value, unit))| (name, json!({ "value": value, "unit": unit }))).collect();
    let inputs: serde_json::Map<String, Value> =
        inputs.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    Ok(json!({ "inputs": inputs, "measured": measured, "lines": lines }))
}

fn all_figures() -> impl Iterator<Item = &'static Measured> {
    [MEASURED, CHOSEN, PRICES].into_iter().flatten()
}

/// Replaces figures by those of a JSON file: `{name: number}` or `{name: {value: number}}`, perhaps under `measured`.
fn overwrite(file: &Path, prices: &[Measured], known: &mut BTreeMap<String, (f64, &str)>) -> anyhow::Result<()> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let mut content: Value = serde_json::from_str(&text).with_context(|| format!("{name} is not JSON"))?;
    if content["measured"].is_object() {
        content = content["measured"].take();
    }
    let Value::Object(entries) = content else { bail!("{name}: expected an object of figures by name") };
    for (key, value) in entries {
        let number = value.as_f64().or_else(|| value["value"].as_f64());
        let Some(number) = number.filter(|number| *number >= 0.0 && *number <= LARGEST) else {
            bail!("{name}: {key} must be a number from 0 to 1e12");
        };
        // A price list may leave the prefix out.
        let key = if prices.is_empty() || key.starts_with("price_") { key } else { format!("price_{key}") };
        match known.get_mut(&key) {
            Some(slot) => slot.0 = number,
            None => bail!("{name}: there is no figure named {key}"),
        }
    }
    Ok(())
}

/// Largest input.
const LARGEST: f64 = 1e12;

/// Parses an input of a plan: 0 to 1e12.
pub fn amount(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if (0.0..=LARGEST).contains(&number) => Ok(number),
        _ => Err("expected a number from 0 to 1e12".into()),
    }
}

/// Parses a number of rooms: at least 1.
pub fn rooms(text: &str) -> Result<f64, String> {
    match amount(text) {
        Ok(number) if number >= 1.0 => Ok(number),
        _ => Err("expected a number from 1 to 1e12".into()),
    }
}

/// The plan for people: value, unit, name and formula of each line.
fn table(plan: &Value) -> String {
    let mut text = String::new();
    for line in plan["lines"].as_array().into_iter().flatten() {
        let (name, unit, formula) = (&line["name"], &line["unit"], &line["formula"]);
        let value = line["value"].as_f64().map_or_else(String::new, shown);
        let column = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        text += &format!("{:<32}{value:>14} {:<14} = {}\n", column(name), column(unit), column(formula));
    }
    text + "\nmeasured (change them with --calibration, prices with --prices):\n"
        + &all_figures()
            .map(|it| {
                let value = plan["measured"][it.name]["value"].as_f64().map_or_else(String::new, shown);
                format!("{:<32}{value:>14} {:<14} {}\n", it.name, it.unit, it.source)
            })
            .collect::<String>()
}

/// A number with three significant digits and a suffix.
fn shown(value: f64) -> String {
    let steps = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    match steps.into_iter().find(|(size, _)| value >= *size) {
        Some((1e4, _)) => format!("{:.1} k", value / 1e3),
        Some((size, suffix)) => format!("{:.2} {suffix}", value / size),
        None if value.fract() == 0.0 => format!("{value}"),
        None => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn args(inputs: [f64; 5]) -> Plan {
        let [viewers, comments_per_s, rooms, messages_per_day, retention_days] = inputs;
        Plan {
            viewers,
            comments_per_s,
            rooms,
            messages_per_day,
            retention_days,
            prices: None,
            calibration: None,
            json: false,
        }
    }

    fn values(inputs: [f64; 5]) -> BTreeMap<String, (f64, bool)> {
        let plan = plan(&args(inputs)).expect("a plan");
        let lines = plan["lines"].as_array().expect("lines").clone();
        let line = |line: Value| {
            let total = line["scope"].is_null();
            (line["name"].as_str().expect("a name").to_owned(), (line["value"].as_f64().expect("a number"), total))
        };
        lines.into_iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn no_total_falls_when_an_input_other_than_rooms_rises(
            inputs in prop::array::uniform5(1.0..1e9_f64),
            which in prop::sample::select(vec![0_usize, 1, 3, 4]),
            factor in 1.0..1e3_f64,
        ) {
            let before = values(inputs);
            let mut more = inputs;
            more[which] *= factor;
            for (name, (value, total)) in values(more) {
                // Figures of one node fall when there are more nodes.
                if total {
                    prop_assert!(value >= before[&name].0 * (1.0 - 1e-12), "{name}: {} then {value}", before[&name].0);
                }
            }
        }
    }

    #[test]
    fn impossible_inputs_are_refused() {
        for text in ["-1", "", "NaN", "inf", "1e13", "ten"] {
            assert!(amount(text).is_err(), "{text:?}");
        }
        assert!(rooms("0").is_err());
        assert_eq!(rooms("1000"), Ok(1_000.0));
    }
}
