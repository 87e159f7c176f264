//! No cycles between sibling modules, and no import against the declared order.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::Fault;
use crate::paths::paths_of;
use crate::tree::Tree;

/// Modules that import each other although they should not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownCycle {
    /// The parent of these modules, as `store::sqlite`. The root is the empty text.
    pub(crate) parent: &'static str,
    /// Their names, sorted.
    pub(crate) modules: &'static [&'static str],
}

/// Imports between the children of one module, by its path: who imports whom, and the first place.
type Edges = BTreeMap<String, BTreeMap<(String, String), Place>>;

#[derive(Debug, Clone)]
struct Place {
    fault: Fault,
}

/// Faults of the imports of a crate, whose root modules are `order`, lowest first.
pub(crate) fn faults(tree: &Tree, order: &[&str], known: &[KnownCycle]) -> Vec<Fault> {
    let edges = edges(tree);
    let mut faults = not_in_order(tree, &edges, order, known);
    let mut found = Vec::new();
    for (parent, edges) in &edges {
        for cycle in cycles(edges) {
            let listed = known.iter().position(|it| it.parent == parent && it.modules == cycle);
            match listed {
                Some(index) => found.push(index),
                None => faults.extend(cyclic(parent, &cycle, edges)),
            }
        }
    }
    for (index, cycle) in known.iter().enumerate() {
        if !found.contains(&index) {
            let KnownCycle { parent, modules } = cycle;
            let message = format!(
                "the known cycle {modules:?} in `{parent}` is not there any more: remove it from the list"
            );
            faults.push(Fault::new(&tree.modules[0].file, 1, message));
        }
    }
    faults
}

fn edges(tree: &Tree) -> Edges {
    let mut edges = Edges::new();
    for (index, module) in tree.production() {
        for written in paths_of(&module.items) {
            let Some(target) = resolve(tree, index, &written.names, 0) else { continue };
            let target = &tree.modules[target].path;
            let same = module.path.iter().zip(target).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (module.path.get(same), target.get(same)) else {
                continue;
            };
            let message = format!(
                "`{}` imports `{}`: `{}`",
                module.path.join("::"),
                target.join("::"),
                written.names.join("::")
            );
            let fault = Fault::new(&module.file, written.line, message);
            let siblings = edges.entry(module.path[..same].join("::")).or_default();
            siblings.entry((from.clone(), to.clone())).or_insert(Place { fault });
        }
    }
    edges
}

// Re-exports of re-exports end somewhere: a longer chain is a circle of imports.
const FOLLOWED_MAX: u32 = 16;

/// The module in which the path ends, where it is one of the crate. Imports on the way are followed: the name of a
/// re-export belongs to the module that defines it.
fn resolve(tree: &Tree, from: usize, names: &[String], followed: u32) -> Option<usize> {
    let (first, mut rest) = names.split_first()?;
    let mut at = match first.as_str() {
        "crate" => 0,
        "self" => from,
        "super" => tree.modules[from].parent,
        name if followed < FOLLOWED_MAX => {
            let at = step(tree, from, name, followed)?;
            return resolve_below(tree, at, rest, followed);
        }
        _ => return None,
    };
    while let Some(("super", after)) =
        rest.split_first().map(|(name, after)| (name.as_str(), after))
    {
        at = tree.modules[at].parent;
        rest = after;
    }
    resolve_below(tree, at, rest, followed)
}

fn resolve_below(tree: &Tree, mut at: usize, names: &[String], followed: u32) -> Option<usize> {
    for name in names {
        match step(tree, at, name, followed) {
            Some(next) => at = next,
            // An item of the module, or one of another crate that it re-exports.
            None => break,
        }
    }
    Some(at)
}

/// The module that a name in a module leads to: a child, or where an import of this name leads to.
fn step(tree: &Tree, at: usize, name: &str, followed: u32) -> Option<usize> {
    let module = &tree.modules[at];
    if let Some(&child) = module.children.get(name) {
        return Some(child);
    }
    if followed >= FOLLOWED_MAX || module.defines.contains(name) {
        return None;
    }
    if let Some(path) = module.imports.get(name) {
        return resolve(tree, at, path, followed + 1);
    }
    module.globs.iter().find_map(|glob| {
        let of = resolve(tree, at, glob, followed + 1)?;
        let found = step(tree, of, name, followed + 1);
        found.or_else(|| tree.modules[of].defines.contains(name).then_some(of))
    })
}

fn not_in_order(tree: &Tree, edges: &Edges, order: &[&str], known: &[KnownCycle]) -> Vec<Fault> {
    let root = &tree.modules[0];
    let mut faults = Vec::new();
    let modules: BTreeSet<&str> = root
        .children
        .iter()
        .filter(|&(_, &child)| tree.modules[child].production)
        .map(|(name, _)| name.as_str())
        .collect();
    for name in &modules {
        match order.iter().filter(|listed| listed == &name).count() {
            1 => {}
            0 => faults.push(Fault::new(
                &root.file,
                1,
                format!("the module `{name}` is not in the order of modules: list it above those that it imports"),
            )),
            _ => faults.push(Fault::new(
                &root.file,
                1,
                format!("the module `{name}` is in the order of modules twice: list it once"),
            )),
        }
    }
    for name in order.iter().filter(|name| !modules.contains(*name)) {
        let message = format!("`{name}` in the order of modules is none: remove it from the list");
        faults.push(Fault::new(&root.file, 1, message));
    }
    let rank = |name: &str| order.iter().position(|listed| *listed == name);
    for ((from, to), place) in edges.get("").into_iter().flatten() {
        let in_cycle = known.iter().any(|cycle| {
            let has = |name: &String| cycle.modules.contains(&name.as_str());
            cycle.parent.is_empty() && has(from) && has(to)
        });
        if rank(from).zip(rank(to)).is_some_and(|(from, to)| from < to) && !in_cycle {
            let mut fault = place.fault.clone();
            fault.message += &format!(
                ", and `{from}` is below `{to}` in the order of modules: move the item down, or `{from}` up in the list"
            );
            faults.push(fault);
        }
    }
    faults
}

/// The sets of siblings that import each other, each sorted.
fn cycles(edges: &BTreeMap<(String, String), Place>) -> Vec<Vec<&str>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges.keys() {
        reached.entry(from).or_default().insert(to);
    }
    loop {
        let mut grew = false;
        for name in reached.keys().copied().collect::<Vec<_>>() {
            let further: BTreeSet<&str> = reached[name]
                .iter()
                .filter_map(|next| reached.get(next))
                .flatten()
                .copied()
                .collect();
            let of = reached.get_mut(name).expect("it is a key");
            let before = of.len();
            of.extend(further);
            grew |= of.len() > before;
        }
        if !grew {
            break;
        }
    }
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|of| of.contains(to));
    let mut cycles: Vec<Vec<&str>> = Vec::new();
    for &name in reached.keys().filter(|name| reaches(name, name)) {
        if !cycles.iter().flatten().any(|&listed| listed == name) {
            cycles.push(
                reached
                    .keys()
                    .copied()
                    .filter(|other| reaches(name, other) && reaches(other, name))
                    .collect(),
            );
        }
    }
    cycles
}

fn cyclic(
    parent: &str,
    cycle: &[&str],
    edges: &BTreeMap<(String, String), Place>,
) -> impl Iterator<Item = Fault> {
    let within = |name: &String| cycle.contains(&name.as_str());
    edges.iter().filter(move |((from, to), _)| within(from) && within(to)).map(move |(_, place)| {
        let mut fault = place.fault.clone();
        let siblings = cycle.join(", ");
        fault.message += &format!(
            ", in a cycle of siblings in `crate::{parent}` ({siblings}): move the shared items to a module below them"
        );
        fault
    })
}
