//! Every path in production code: imports, expressions, types, and those within macros and attributes.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Macro, Meta, UseTree, VisRestricted};

use crate::tree::is_for_tests;

/// A path as it is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) names: Vec<String>,
    pub(crate) line: usize,
}

/// The paths in items of production code.
pub(crate) fn paths_of(items: &[Item]) -> Vec<Written> {
    let mut found = Paths::default();
    for item in items {
        found.visit_item(item);
    }
    found.0
}

#[derive(Default)]
struct Paths(Vec<Written>);

impl Paths {
    fn add(&mut self, idents: &[&Ident]) {
        if let Some(first) = idents.first() {
            let names = idents.iter().map(ToString::to_string).collect();
            self.0.push(Written { names, line: first.span().start().line });
        }
    }

    fn add_use<'a>(&mut self, tree: &'a UseTree, prefix: &mut Vec<&'a Ident>) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(&path.ident);
                self.add_use(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Name(name) if name.ident == "self" => self.add(prefix),
            UseTree::Name(name) => self.add_last(prefix, &name.ident),
            UseTree::Rename(name) => self.add_last(prefix, &name.ident),
            UseTree::Glob(_) => self.add(prefix),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, prefix);
                }
            }
        }
    }

    fn add_last(&mut self, prefix: &[&Ident], last: &Ident) {
        let idents = [prefix, &[last]].concat();
        let names = idents.iter().map(ToString::to_string).collect();
        self.0.push(Written { names, line: last.span().start().line });
    }

    fn add_tokens(&mut self, tokens: &TokenStream) {
        let mut idents: Vec<Ident> = Vec::new();
        let mut colons = 0;
        for token in tokens.clone() {
            match token {
                TokenTree::Ident(ident) if colons == 2 && !idents.is_empty() => idents.push(ident),
                TokenTree::Ident(ident) => {
                    self.add(&idents.iter().collect::<Vec<_>>());
                    idents = vec![ident];
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.add(&std::mem::take(&mut idents).iter().collect::<Vec<_>>());
                    self.add_tokens(&group.stream());
                }
                _ => self.add(&std::mem::take(&mut idents).iter().collect::<Vec<_>>()),
            }
            colons = 0;
        }
        self.add(&idents.iter().collect::<Vec<_>>());
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, &mut Vec::new());
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_const(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_trait_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_for_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !is_for_tests(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_expr_block(&mut self, block: &'ast syn::ExprBlock) {
        if !is_for_tests(&block.attrs) {
            visit::visit_expr_block(self, block);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(&path.segments.iter().map(|segment| &segment.ident).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, it: &'ast Macro) {
        visit::visit_macro(self, it);
        self.add_tokens(&it.tokens);
    }

    fn visit_attribute(&mut self, attr: &'ast Attribute) {
        if let Meta::List(list) = &attr.meta {
            self.add_tokens(&list.tokens);
        }
    }

    // `pub(in crate::store)` is no use of it.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
