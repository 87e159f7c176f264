//! No constant is defined twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{BinOp, Expr, Item, ItemConst, Lit, UnOp};

use crate::fault::Fault;
use crate::tree::{Tree, is_for_tests};

/// A constant that is defined more than once, and the reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
}

/// Faults of constants that have the name and the value of another one in the production code of a crate.
pub(crate) fn faults(tree: &Tree, allowed: &[Allowed]) -> Vec<Fault> {
    let mut places: BTreeMap<(String, String), Vec<(&Path, usize)>> = BTreeMap::new();
    for (_, module) in tree.production() {
        let text = fs::read_to_string(&module.file).expect("it was read before");
        let mut found = Constants { text: &text, found: Vec::new() };
        module.items.iter().for_each(|item| found.visit_item(item));
        for (name, value, line) in found.found {
            places.entry((name, value)).or_default().push((&module.file, line));
        }
    }
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for ((name, _), places) in places.iter().filter(|(_, places)| places.len() > 1) {
        if allowed.iter().any(|it| it.name == name) {
            used.push(name.as_str());
            continue;
        }
        let (first, first_line) = places[0];
        for &(file, line) in &places[1..] {
            let message = format!(
                "`{name}` has the value that it has at {}:{first_line}: import that constant, or move it to a module below both",
                first.display()
            );
            faults.push(Fault::new(file, line, message));
        }
    }
    for it in allowed.iter().filter(|it| !used.contains(&it.name)) {
        let message = format!(
            "`{}` is not defined twice any more ({}): remove it from the list of allowed constants",
            it.name, it.reason
        );
        faults.push(Fault::new(&tree.modules[0].file, 1, message));
    }
    faults
}

struct Constants<'a> {
    text: &'a str,
    found: Vec<(String, String, usize)>,
}

impl<'ast> Visit<'ast> for Constants<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let is_tests = match item {
            Item::Const(item) => is_for_tests(&item.attrs),
            Item::Fn(item) => is_for_tests(&item.attrs),
            Item::Impl(item) => is_for_tests(&item.attrs),
            Item::Mod(item) => is_for_tests(&item.attrs),
            _ => false,
        };
        if !is_tests {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        if item.ident != "_" {
            let from = item.eq_token.span.byte_range().end;
            let to = item.semi_token.span.byte_range().start;
            let value = match number(&item.expr) {
                Some(number) => number.to_string(),
                None => self.text[from..to].split_whitespace().collect(),
            };
            let line = item.ident.span().start().line;
            self.found.push((item.ident.to_string(), value, line));
        }
    }
}

/// The value of an expression of integers, so that `24 * 3_600_000` is `86_400_000`.
fn number(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(digits) => digits.base10_parse().ok(),
            _ => None,
        },
        Expr::Paren(inner) => number(&inner.expr),
        Expr::Cast(cast) => number(&cast.expr),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => {
            number(&unary.expr)?.checked_neg()
        }
        Expr::Binary(binary) => {
            let (left, right) = (number(&binary.left)?, number(&binary.right)?);
            match binary.op {
                BinOp::Add(_) => left.checked_add(right),
                BinOp::Sub(_) => left.checked_sub(right),
                BinOp::Mul(_) => left.checked_mul(right),
                BinOp::Div(_) => left.checked_div(right),
                BinOp::Shl(_) => left.checked_shl(u32::try_from(right).ok()?),
                _ => None,
            }
        }
        _ => None,
    }
}
