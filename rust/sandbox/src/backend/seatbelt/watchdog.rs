//! What a job uses up, judged from looks at the table of processes: there are no control groups.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::Limits;

/// One line of the table of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    /// Its parent's.
    pub(crate) parent: i32,
    /// Its process group.
    pub(crate) group: i32,
    /// When it started: with `pid` it names one process for good.
    pub(crate) started: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// Processor time since its start.
    pub(crate) cpu: Duration,
}

/// The job's processes, as far as they were ever seen. One that forks twice and leaves its session between two looks is
/// not found; it stays in the sandbox, without a proxy.
#[derive(Debug)]
pub(crate) struct Family {
    group: i32,
    /// By number: when each started, and its processor time.
    members: BTreeMap<i32, (u64, Duration)>,
    /// The processor time of those that have ended.
    spent: Duration,
}

/// What to do about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// It has had more than its share of the processors: it rests until the next look.
    Rest,
    /// It has taken more than it may: it ends.
    End(String),
}

/// All of the job's processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    memory: u64,
    processes: u64,
    cpu: Duration,
}

/// A job may be ahead of its share by this much: a start is busier than what follows.
const AHEAD: Duration = Duration::from_secs(1);

impl Family {
    /// Of the process that leads this group.
    pub(crate) fn of(group: i32) -> Family {
        Family { group, members: BTreeMap::new(), spent: Duration::ZERO }
    }

    /// Looks who is there now.
    pub(crate) fn look(&mut self, table: &[Process]) -> Usage {
        let mut now: BTreeMap<i32, Process> = BTreeMap::new();
        // Children of those that were found last may be anywhere in the table.
        loop {
            let before = now.len();
            for process in table {
                let known =
                    self.members.get(&process.pid).is_some_and(|(started, _)| *started == process.started);
                if known || process.group == self.group || now.contains_key(&process.parent) {
                    now.insert(process.pid, *process);
                }
            }
            if now.len() == before {
                break;
            }
        }
        let members: BTreeMap<_, _> =
            now.values().map(|process| (process.pid, (process.started, process.cpu))).collect();
        for (pid, (started, cpu)) in &self.members {
            if members.get(pid).is_none_or(|(still, _)| still != started) {
                self.spent += *cpu;
            }
        }
        self.members = members;
        Usage {
            memory: now.values().map(|process| process.memory).sum(),
            processes: now.len() as u64,
            cpu: self.spent + now.values().map(|process| process.cpu).sum(),
        }
    }

    /// Those that were there at the last look.
    pub(crate) fn members(&self) -> impl Iterator<Item = i32> {
        self.members.keys().copied()
    }
}

/// Judges a job that has run for this long.
pub(crate) fn judge(usage: Usage, limits: &Limits, age: Duration) -> Verdict {
    if let Some(memory) = limits.memory.filter(|memory| usage.memory > *memory) {
        return Verdict::End(format!(
            "the job has taken {} bytes of memory, its limit is {memory}",
            usage.memory
        ));
    }
    if let Some(pids) = limits.pids.filter(|pids| usage.processes > *pids) {
        return Verdict::End(format!("the job has {} processes, its limit is {pids}", usage.processes));
    }
    match limits.cpus {
        Some(cpus) if usage.cpu > age.mul_f64(cpus.clamp(0.0, 1e6)) + AHEAD => Verdict::Rest,
        _ => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, started: u64) -> Process {
        Process { pid, parent, group, started, memory: 10, cpu: Duration::from_secs(2) }
    }

    #[test]
    fn children_are_found_and_stay_known_when_they_leave() {
        let mut family = Family::of(10);
        let stranger = process(5, 1, 5, 1);
        let usage =
            family.look(&[process(12, 11, 12, 3), process(11, 10, 10, 2), process(10, 4, 10, 1), stranger]);
        assert_eq!(usage, Usage { memory: 30, processes: 3, cpu: Duration::from_secs(6) });
        // Its parents are gone, its session is another, its parent is launchd.
        let usage = family.look(&[process(12, 1, 12, 3), stranger]);
        assert_eq!(usage, Usage { memory: 10, processes: 1, cpu: Duration::from_secs(6) });
        assert_eq!(family.members().collect::<Vec<_>>(), [12]);
        // Another process with the number of one that has ended is not the job's.
        assert_eq!(family.look(&[process(12, 1, 12, 9), stranger]).processes, 0);
    }

    #[test]
    fn each_limit_has_its_verdict() {
        let usage = Usage { memory: 100, processes: 5, cpu: Duration::from_secs(9) };
        let judge = |limits: Limits, seconds| judge(usage, &limits, Duration::from_secs(seconds));
        assert_eq!(judge(Limits::default(), 0), Verdict::Fine);
        assert!(matches!(judge(Limits { memory: Some(99), ..Limits::default() }, 0), Verdict::End(_)));
        assert_eq!(judge(Limits { memory: Some(100), ..Limits::default() }, 0), Verdict::Fine);
        assert!(matches!(judge(Limits { pids: Some(4), ..Limits::default() }, 0), Verdict::End(_)));
        assert_eq!(judge(Limits { pids: Some(5), ..Limits::default() }, 0), Verdict::Fine);
        assert_eq!(judge(Limits { cpus: Some(2.0), ..Limits::default() }, 3), Verdict::Rest);
        assert_eq!(judge(Limits { cpus: Some(2.0), ..Limits::default() }, 4), Verdict::Fine);
    }
}
