//! What a job costs in memory, beside its own command.

use std::collections::HashMap;
use std::fs;

use crate::Fallible;

/// Bytes of a launcher and all processes under it that are not the load client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Of the launcher alone, which is the proxy too; with every shared page counted whole.
    pub(crate) launcher: f64,
    /// Of all, with every shared page counted in parts; none if the kernel does not let us look.
    pub(crate) proportional: Option<f64>,
    /// How many processes.
    pub(crate) processes: usize,
}

/// Measures the job of this launcher.
pub(crate) fn of(launcher: u32) -> Fallible<Memory> {
    let mut memory = Memory { launcher: field(launcher, "status", "VmRSS:")?, ..Memory::default() };
    let mut proportional = Some(0.0);
    for id in tree(launcher)? {
        memory.processes += 1;
        proportional = proportional.and_then(|sum| Some(sum + field(id, "smaps_rollup", "Pss:").ok()?));
    }
    memory.proportional = proportional;
    Ok(memory)
}

/// The launcher and what is under it, without the client: that is the job's, not the jail's.
fn tree(launcher: u32) -> Fallible<Vec<u32>> {
    let own = fs::read_to_string("/proc/self/comm")?;
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ends meanwhile is not counted.
        if let Ok(parent) = number(id, "status", "PPid:") {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut tree = vec![launcher];
    let mut position = 0;
    while let Some(id) = tree.get(position) {
        tree.extend(children.get(id).into_iter().flatten());
        position += 1;
    }
    tree.retain(|id| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name != own));
    Ok(tree)
}

/// An amount in kB, as bytes.
fn field(id: u32, file: &str, name: &str) -> Fallible<f64> {
    Ok(f64::from(number(id, file, name)?) * 1024.0)
}

fn number(id: u32, file: &str, name: &str) -> Fallible<u32> {
    let path = format!("/proc/{id}/{file}");
    let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .ok_or_else(|| format!("{path} has no {name}"))?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}
