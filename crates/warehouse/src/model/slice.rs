//! Which inputs of an incremental model are read interval by interval.
//!
//! In: the parsed statement.  Out: table → column, where *every* reference to the table is under
//! `column >= $from and column < $to`; other inputs count as read whole.
//! Never here: types, running SQL.
//! Start at [`sliced_inputs`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, ObjectName, Select, TableFactor, Value, ValueWithSpan, Visit, Visitor,
};
use domain::TableName;

/// Names of the placeholders in a statement, such as `$from`.
pub(super) fn placeholders(statement: &Statement) -> BTreeSet<String> {
    struct Found(BTreeSet<String>);
    impl Visitor for Found {
        type Break = ();
        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
            if let Value::Placeholder(name) = &value.value {
                self.0.insert(name.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut found = Found(BTreeSet::new());
    let _ = visit(statement, &mut found);
    found.0
}

/// Tables whose every reference is filtered to one interval, and by which column.
pub(super) fn sliced_inputs(statement: &Statement) -> BTreeMap<TableName, String> {
    let mut slices = Slices::default();
    let _ = visit(statement, &mut slices);
    let Slices { references, sliced, .. } = slices;
    let is_whole = |table: &TableName, columns: &Vec<String>| {
        let one = columns.first();
        references.get(table) == Some(&columns.len()) && columns.iter().all(|column| Some(column) == one)
    };
    sliced
        .into_iter()
        .filter(|(table, columns)| is_whole(table, columns))
        .filter_map(|(table, mut columns)| Some((table, columns.pop()?)))
        .collect()
}

fn visit<V: Visitor>(statement: &Statement, visitor: &mut V) -> ControlFlow<V::Break> {
    match statement {
        Statement::Statement(statement) => statement.visit(visitor),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Explain(_) | Statement::Reset(_) => {
            ControlFlow::Continue(())
        }
    }
}

/// Counts references of tables, and those of them that a `where` cuts to the interval.
#[derive(Default)]
struct Slices {
    references: BTreeMap<TableName, usize>,
    sliced: BTreeMap<TableName, Vec<String>>,
}

impl Visitor for Slices {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if let Some(table) = table_name(relation) {
            *self.references.entry(table).or_default() += 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let tables = from_tables(select);
        let mut bounds = Vec::new();
        if let Some(condition) = &select.selection {
            conjuncts(condition, &mut bounds);
        }
        let lower: Vec<_> = bounds.iter().filter(|bound| bound.is_lower).collect();
        for bound in lower {
            let has_upper = bounds
                .iter()
                .any(|other| !other.is_lower && other.column == bound.column && other.relation == bound.relation);
            let table = match &bound.relation {
                Some(alias) => tables.iter().find(|(name, _)| name == alias),
                // A bare column is that table's only when there is no other.
                None if tables.len() == 1 => tables.first(),
                None => None,
            };
            if let (true, Some((_, Some(table)))) = (has_upper, table) {
                self.sliced.entry(table.clone()).or_default().push(bound.column.clone());
            }
        }
        ControlFlow::Continue(())
    }
}

/// What stands in `from`: the name it goes by, and the table if it is one.
#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other case is one for us")]
fn from_tables(select: &Select) -> Vec<(String, Option<TableName>)> {
    let factors = select
        .from
        .iter()
        .flat_map(|item| std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation)));
    factors
        .map(|factor| match factor {
            TableFactor::Table { name, alias, .. } => {
                let table = table_name(name);
                let own = table.as_ref().map(|table| table.name().to_owned()).unwrap_or_default();
                (alias.as_ref().map_or(own, |alias| alias.name.value.clone()), table)
            }
            TableFactor::Derived { alias, .. } => {
                (alias.as_ref().map(|alias| alias.name.value.clone()).unwrap_or_default(), None)
            }
            // Everything else hides what it reads, so a bare column might be its.
            _ => (String::new(), None),
        })
        .collect()
}

/// `column >= $from` or `column < $to`.
#[derive(PartialEq)]
struct Bound {
    relation: Option<String>,
    column: String,
    is_lower: bool,
}

/// Collects the bounds among the parts of a condition that all must hold.
#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other case is one for us")]
fn conjuncts(condition: &Expr, bounds: &mut Vec<Bound>) {
    match condition {
        Expr::Nested(inner) => conjuncts(inner, bounds),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, bounds);
            conjuncts(right, bounds);
        }
        Expr::BinaryOp { left, op, right } => {
            let (column, parameter, op) = match (column(left), parameter(right)) {
                (Some(column), Some(parameter)) => (column, parameter, op.clone()),
                _ => match (column(right), parameter(left)) {
                    (Some(column), Some(parameter)) => (column, parameter, mirrored(op)),
                    _ => return,
                },
            };
            let is_lower = op == BinaryOperator::GtEq && parameter == "$from";
            let is_upper = op == BinaryOperator::Lt && parameter == "$to";
            if is_lower || is_upper {
                bounds.push(Bound { relation: column.0, column: column.1, is_lower });
            }
        }
        // Any other condition only takes rows away, or holds no bound that we rely on.
        _ => {}
    }
}

fn mirrored(op: &BinaryOperator) -> BinaryOperator {
    if *op == BinaryOperator::LtEq {
        BinaryOperator::GtEq
    } else if *op == BinaryOperator::Gt {
        BinaryOperator::Lt
    } else {
        op.clone()
    }
}

/// `(relation, column)` of a plain column.
#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other case is one for us")]
fn column(expression: &Expr) -> Option<(Option<String>, String)> {
    match expression {
        Expr::Identifier(name) => Some((None, name.value.clone())),
        Expr::CompoundIdentifier(parts) => {
            let mut names = parts.iter().rev().map(|part| part.value.clone());
            let column = names.next()?;
            Some((names.next(), column))
        }
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's enum: every other case is one for us")]
fn parameter(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some(name.clone()),
            _ => None,
        },
        Expr::Nested(inner) => parameter(inner),
        _ => None,
    }
}

fn table_name(name: &ObjectName) -> Option<TableName> {
    let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.as_str()).collect();
    match parts.as_slice() {
        [schema, table] => TableName::new(schema, table).ok(),
        _ => None,
    }
}
