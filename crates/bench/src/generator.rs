//! A generator in a process of its own, because a process may only hold so many sockets: this program again, told
//! what to do through its standard input, one JSON line for each order and one for each answer. All processes of a
//! host read one clock, so marks and planned moments mean the same in each.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::conn::Spec;
use crate::crew::{Answer, Crew, Order};
use crate::options::CpuList;
use crate::scenario::Plan;
use crate::specs::specs;
use crate::target::Address;

/// One of several: which, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        let (index, of) = parts.ok_or("expected INDEX/COUNT")?;
        if index < of { Ok(Self { index, of }) } else { Err("expected an index below the count".into()) }
    }
}

impl Part {
    /// This part's sockets. All that write are in the first, so that one plan of moments is kept in one place.
    #[must_use]
    pub fn of(self, specs: Vec<Spec>) -> Vec<Spec> {
        let (senders, readers): (Vec<Spec>, Vec<Spec>) = specs.into_iter().partition(|spec| spec.role.sends());
        let senders = senders.into_iter().filter(|_| self.index == 0);
        let readers = readers.into_iter().enumerate().filter(|(i, _)| i % self.of == self.index);
        senders.chain(readers.map(|(_, spec)| spec)).collect()
    }
}

/// What a generator has to know beyond the command line.
#[derive(Serialize, Deserialize)]
struct Begin {
    target: Address,
    cpus: CpuList,
    threads: usize,
}

/// Is a generator: obeys until the standard input ends.
///
/// # Errors
/// When whoever started it has gone or says what it does not understand.
pub fn serve(plan: &Plan, part: Part) -> anyhow::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let begin: Begin = serde_json::from_str(&lines.next().context("no first line")??)?;
    let (failed, failures) = mpsc::channel();
    let specs = part.of(specs(plan, &begin.target)?);
    let crew = Crew::start(plan, specs, &begin.cpus, begin.threads, &failed)?;
    for line in lines {
        let answer = match failures.try_recv() {
            Ok(failure) => Answer::Failed(failure),
            Err(_) => crew.obey(serde_json::from_str(&line?)?)?,
        };
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

/// The other end: a generator that was started. Ends with its handle.
pub struct Remote {
    child: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Remote {
    /// Starts one with this process's own command line.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(target: &Address, part: Part, cpus: &CpuList, threads: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.args(std::env::args_os().skip(1)).args(["--as-generator", &format!("{}/{}", part.index, part.of)]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a generator")?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().context("no standard output")?);
        let remote = Self { child, pipes: RefCell::new((stdin, stdout)) };
        remote.say(&Begin { target: target.clone(), cpus: cpus.clone(), threads })?;
        Ok(remote)
    }

    /// Passes an order on and waits for the answer.
    ///
    /// # Errors
    /// When it has ended, or one of its threads has.
    pub fn obey(&self, order: &Order) -> anyhow::Result<Answer> {
        self.say(order)?;
        let mut line = String::new();
        self.pipes.borrow_mut().1.read_line(&mut line)?;
        match serde_json::from_str(&line).context("a generator has ended")? {
            Answer::Failed(failure) => bail!(failure),
            answer => Ok(answer),
        }
    }

    fn say(&self, what: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(what)? + "\n";
        self.pipes.borrow_mut().0.write_all(line.as_bytes()).context("a generator has ended")
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_below_the_count() {
        assert_eq!("1/2".parse(), Ok(Part { index: 1, of: 2 }));
        assert!(["2/2", "x/2", "1"].iter().all(|text| text.parse::<Part>().is_err()));
    }
}
