//! The modules of a crate, from their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta, Token, UseTree};

/// A module of a crate.
pub(crate) struct Module {
    /// The names from the crate's root, which has none.
    pub(crate) path: Vec<String>,
    pub(crate) file: PathBuf,
    /// Compiled outside of tests, with some features.
    pub(crate) production: bool,
    pub(crate) parent: usize,
    pub(crate) children: BTreeMap<String, usize>,
    /// Imports of the module, by the name that they have in it: paths as they are written.
    pub(crate) imports: BTreeMap<String, Vec<String>>,
    pub(crate) globs: Vec<Vec<String>>,
    /// Names that the module defines.
    pub(crate) defines: BTreeSet<String>,
    /// The content, without child modules.
    pub(crate) items: Vec<Item>,
}

/// A crate: its modules, of which the root is the first.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) modules: Vec<Module>,
}

impl Tree {
    /// Reads the crate whose root is `file`, with all modules below it.
    pub(crate) fn read(file: &Path) -> Self {
        let mut tree = Self::default();
        let directory = file.parent().expect("a file is in a directory");
        tree.read_file(file, directory, Vec::new(), 0, true);
        tree
    }

    /// All files that the crate is made of.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.modules.iter().map(|module| module.file.as_path())
    }

    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &Module)> {
        self.modules.iter().enumerate().filter(|(_, module)| module.production)
    }

    // `directory` is where files of child modules are.
    fn read_file(
        &mut self,
        file: &Path,
        directory: &Path,
        path: Vec<String>,
        parent: usize,
        production: bool,
    ) -> usize {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let production = production && !is_for_tests(&parsed.attrs);
        self.add(file, directory, path, parent, production, parsed.items)
    }

    fn add(
        &mut self,
        file: &Path,
        directory: &Path,
        path: Vec<String>,
        parent: usize,
        production: bool,
        items: Vec<Item>,
    ) -> usize {
        let index = self.modules.len();
        let mut module = Module {
            path,
            file: file.to_owned(),
            production,
            parent,
            children: BTreeMap::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            defines: BTreeSet::new(),
            items: Vec::new(),
        };
        let mut below = Vec::new();
        for item in items {
            match item {
                Item::Mod(child) => below.push(child),
                item => module.items.push(item),
            }
        }
        module.name_items();
        self.modules.push(module);
        for child in below {
            self.add_child(index, directory, child);
        }
        index
    }

    fn add_child(&mut self, parent: usize, directory: &Path, child: ItemMod) {
        let name = child.ident.to_string();
        let of = &self.modules[parent];
        let path = [of.path.clone(), vec![name.clone()]].concat();
        let production = of.production && !is_for_tests(&child.attrs);
        let file = of.file.clone();
        let below = directory.join(&name);
        let index = if let Some((_, items)) = child.content {
            self.add(&file, &below, path, parent, production, items)
        } else {
            let (file, below) = file_of(&child.attrs, &file, directory, &name);
            self.read_file(&file, &below, path, parent, production)
        };
        // Two modules of one name, for two sets of features, are one room.
        self.modules[parent].children.entry(name).or_insert(index);
    }
}

impl Module {
    fn name_items(&mut self) {
        for item in &self.items {
            let ident = match item {
                Item::Const(item) => &item.ident,
                Item::Enum(item) => &item.ident,
                Item::Fn(item) => &item.sig.ident,
                Item::Static(item) => &item.ident,
                Item::Struct(item) => &item.ident,
                Item::Trait(item) => &item.ident,
                Item::Type(item) => &item.ident,
                Item::Union(item) => &item.ident,
                Item::Use(item) if !is_for_tests(&item.attrs) => {
                    import(&item.tree, &mut Vec::new(), &mut self.imports, &mut self.globs);
                    continue;
                }
                _ => continue,
            };
            self.defines.insert(ident.to_string());
        }
    }
}

fn import(
    tree: &UseTree,
    prefix: &mut Vec<String>,
    imports: &mut BTreeMap<String, Vec<String>>,
    globs: &mut Vec<Vec<String>>,
) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            import(&path.tree, prefix, imports, globs);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            imports.insert(prefix.last().cloned().unwrap_or_default(), prefix.clone());
        }
        UseTree::Name(name) => {
            let path = [prefix.as_slice(), &[name.ident.to_string()]].concat();
            imports.insert(name.ident.to_string(), path);
        }
        UseTree::Rename(name) => {
            let path = [prefix.as_slice(), &[name.ident.to_string()]].concat();
            imports.insert(name.rename.to_string(), path);
        }
        UseTree::Glob(_) => globs.push(prefix.clone()),
        UseTree::Group(group) => {
            for tree in &group.items {
                import(tree, prefix, imports, globs);
            }
        }
    }
}

// The file of `mod name;`, and where the files of its own child modules are.
fn file_of(attrs: &[Attribute], of: &Path, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    if let Some(path) = attrs.iter().find_map(path_attribute) {
        let file = of.parent().expect("a file is in a directory").join(path);
        let below = file.parent().expect("a file is in a directory").to_owned();
        return (file, below);
    }
    let below = directory.join(name);
    let file = directory.join(format!("{name}.rs"));
    if file.exists() { (file, below) } else { (below.join("mod.rs"), below) }
}

fn path_attribute(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attr.meta else { return None };
    let Expr::Lit(literal) = &pair.value else { return None };
    let Lit::Str(text) = &literal.lit else { return None };
    pair.path.is_ident("path").then(|| text.value())
}

/// Whether an item with these attributes is in tests or fuzzing alone.
pub(crate) fn is_for_tests(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        if attr.path().is_ident("test") {
            return true;
        }
        attr.path().is_ident("cfg")
            && attr.parse_args::<Meta>().is_ok_and(|meta| holds(&meta) == Some(false))
    })
}

// Whether a condition holds in production. None: it depends on features or the platform.
fn holds(condition: &Meta) -> Option<bool> {
    let name = condition.path().get_ident()?;
    if name == "test" || name == "fuzzing" {
        return Some(false);
    }
    let Meta::List(list) = condition else { return None };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    let parts: Vec<Option<bool>> = parts.iter().map(holds).collect();
    if name == "not" {
        return parts.first().copied().flatten().map(|it| !it);
    }
    let decides = name == "any";
    if parts.contains(&Some(decides)) {
        Some(decides)
    } else if parts.contains(&None) {
        None
    } else {
        Some(!decides)
    }
}
