//! The order in which models are built, and what is wrong when there is none.
//!
//! In: models and the tables that exist.  Out: models, inputs first; cycles and unknown names as errors.
//! Never here: building.
//! Start at [`in_order`].

use std::collections::{BTreeMap, BTreeSet};

use domain::TableName;

use super::Model;
use crate::catalog::nearest;
use crate::error::{Result, WarehouseError};

/// Sorts models so that each comes after what it reads, and otherwise by name.
///
/// `also` holds further edges: tables that a model's checks read. Errors: [`WarehouseError::Cycle`], in full.
pub(crate) fn in_order<'a>(
    models: &'a [Model],
    also: &BTreeMap<TableName, BTreeSet<TableName>>,
) -> Result<Vec<&'a Model>> {
    let by_name: BTreeMap<&TableName, &Model> = models.iter().map(|model| (&model.table, model)).collect();
    let mut walk = Walk { by_name: &by_name, also, done: BTreeSet::new(), path: Vec::new(), order: Vec::new() };
    for name in by_name.keys() {
        walk.enter(name)?;
    }
    Ok(walk.order)
}

struct Walk<'w, 'a> {
    by_name: &'w BTreeMap<&'a TableName, &'a Model>,
    also: &'w BTreeMap<TableName, BTreeSet<TableName>>,
    done: BTreeSet<TableName>,
    path: Vec<TableName>,
    order: Vec<&'a Model>,
}

impl Walk<'_, '_> {
    /// Depth first; the depth is at most the number of models.
    fn enter(&mut self, name: &TableName) -> Result<()> {
        let Some(model) = self.by_name.get(name).copied() else { return Ok(()) };
        if self.done.contains(name) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|earlier| earlier == name) {
            let circle: Vec<_> = self.path[start..].iter().chain([name]).map(|name| format!("`{name}`")).collect();
            return Err(WarehouseError::Cycle { cycle: circle.join(" → ") });
        }
        self.path.push(name.clone());
        let checked = self.also.get(name).into_iter().flatten();
        for input in model.inputs.iter().chain(checked.filter(|input| *input != name)) {
            self.enter(input)?;
        }
        self.path.pop();
        self.done.insert(name.clone());
        self.order.push(model);
        Ok(())
    }
}

/// The first table that a model names and nothing provides.
pub(crate) fn unknown_tables(models: &[Model], known: &BTreeSet<TableName>) -> Result<()> {
    let provided: BTreeSet<&TableName> = known.iter().chain(models.iter().map(|model| &model.table)).collect();
    for model in models {
        if let Some(missing) = model.inputs.iter().find(|input| !provided.contains(input)) {
            return Err(WarehouseError::NoSuchTable {
                table: missing.to_string(),
                nearest: nearest(&missing.to_string(), provided.iter().map(ToString::to_string)),
                at: place_of(model, missing),
            });
        }
    }
    Ok(())
}

/// `path:line` of the first mention of a table in a model.
fn place_of(model: &Model, table: &TableName) -> String {
    let wanted = table.to_string();
    let is_mention = |line: &&str| !line.trim_start().starts_with("--") && line.contains(&wanted);
    match model.sql.lines().position(|line| is_mention(&line)) {
        Some(index) => format!("{}:{}", model.path, index + 1),
        None => model.path.clone(),
    }
}

/// The models that selectors name: `a.b`, `+a.b` (with everything before it), `a.b+` (with everything after it). Empty: all.
///
/// A name may be given without its schema when only one model has it.
pub(crate) fn with_neighbours(models: &[Model], selectors: &[String]) -> Result<BTreeSet<TableName>> {
    if selectors.is_empty() {
        return Ok(models.iter().map(|model| model.table.clone()).collect());
    }
    let mut chosen = BTreeSet::new();
    for selector in selectors {
        let name = selector.trim_start_matches('+').trim_end_matches('+');
        let named: Vec<_> =
            models.iter().filter(|model| model.table.to_string() == name || model.table.name() == name).collect();
        let [model] = named.as_slice() else {
            let names = models.iter().map(|model| model.table.to_string());
            return Err(WarehouseError::NoSuchTable {
                table: name.to_owned(),
                nearest: nearest(name, names),
                at: String::new(),
            });
        };
        chosen.insert(model.table.clone());
        if selector.starts_with('+') {
            spread(&mut chosen, &model.table, |name| {
                models
                    .iter()
                    .filter(|model| model.table == *name)
                    .flat_map(|model| model.inputs.iter())
                    .filter(|input| models.iter().any(|model| model.table == **input))
                    .cloned()
                    .collect()
            });
        }
        if selector.ends_with('+') {
            spread(&mut chosen, &model.table, |name| {
                models.iter().filter(|model| model.inputs.contains(name)).map(|model| model.table.clone()).collect()
            });
        }
    }
    Ok(chosen)
}

fn spread(chosen: &mut BTreeSet<TableName>, from: &TableName, next: impl Fn(&TableName) -> Vec<TableName>) {
    let mut open = vec![from.clone()];
    let mut seen = BTreeSet::from([from.clone()]);
    while let Some(name) = open.pop() {
        for neighbour in next(&name) {
            if seen.insert(neighbour.clone()) {
                open.push(neighbour);
            }
        }
    }
    chosen.extend(seen);
}
