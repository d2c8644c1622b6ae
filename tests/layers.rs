//! The layers of the library: a module imports modules of its own layer or of a lower one, without
//! cycles. Paths are resolved through re-exports to the module that defines the name, so
//! `crate::Cap` counts as an import of `caps`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// The modules, lowest layer first. Modules of one layer may import each other, in one direction.
const LAYERS: &[&[&str]] = &[
    &["caps", "sys"],
    &["error"],
    &["thread", "proc", "file"],
    &["exec", "launch"],
    &["trace", "settings", "knowledge"],
    &["rootless"],
    &["scan", "container", "service"],
    &["tools"],
];

#[test]
fn imports_point_down() {
    let house = House::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    let rooms: BTreeSet<&str> = house.modules.keys().filter_map(|path| room(path)).collect();
    let known: BTreeSet<&str> = LAYERS.iter().flat_map(|layer| *layer).copied().collect();
    assert_eq!(rooms, known, "LAYERS names every room");
    let arrows = house.arrows();
    assert!(arrows.contains_key(&("file", "caps")), "paths are resolved: {arrows:?}");
    assert_eq!(faults(&arrows), Vec::<String>::new());
}

#[test]
fn faults_are_found() {
    let of = |arrows: &[(&'static str, &'static str)]| {
        let place = || BTreeSet::from(["here".to_owned()]);
        faults(&arrows.iter().map(|arrow| (*arrow, place())).collect())
    };
    assert_eq!(of(&[("tools", "caps"), ("file", "proc")]), Vec::<String>::new());
    assert_eq!(of(&[("caps", "tools")]), ["caps imports tools, which is above it: here"]);
    assert_eq!(of(&[("caps", "error")]), ["caps imports error, which is above it: here"]);
    assert_eq!(
        of(&[("thread", "proc"), ("proc", "file"), ("file", "thread")]),
        ["file, proc, thread import each other in a circle"]
    );
}

/// An inherent method that a higher module adds to a type belongs to the higher module.
#[test]
fn paths_are_resolved() {
    let house = House::of(&[
        (&[], "mod low; mod high; pub use low::Set;"),
        (&["low"], "mod set; pub use set::Set; fn f() { crate::Set::of_kernel(); }"),
        (&["low", "set"], "pub struct Set;"),
        (
            &["high"],
            "use crate::Set; impl Set { pub fn of_kernel() {} } fn g() { super::low::Set; }",
        ),
    ]);
    let arrows: Vec<(&str, &str)> = house.arrows().into_keys().collect();
    assert_eq!(arrows, [("high", "low"), ("low", "high")]);
}

type Arrows<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<String>>;

fn faults(arrows: &Arrows<'_>) -> Vec<String> {
    let layer = |room: &str| LAYERS.iter().position(|layer| layer.contains(&room));
    let up = arrows.iter().filter(|((from, to), _)| layer(from) < layer(to));
    let mut faults: Vec<String> = up
        .map(|((from, to), places)| {
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            format!("{from} imports {to}, which is above it: {}", places.join(", "))
        })
        .collect();
    // Repeatedly removes modules without imports. The rest is in cycles.
    let mut rest: BTreeSet<(&str, &str)> =
        arrows.keys().filter(|(from, to)| layer(from) == layer(to)).copied().collect();
    loop {
        let importing: BTreeSet<&str> = rest.iter().map(|(from, _)| *from).collect();
        let imported: BTreeSet<&str> = rest.iter().map(|(_, to)| *to).collect();
        let before = rest.len();
        rest.retain(|(from, to)| imported.contains(from) && importing.contains(to));
        if rest.is_empty() {
            return faults;
        }
        if rest.len() == before {
            let rooms: Vec<&str> = importing.intersection(&imported).copied().collect();
            faults.push(format!("{} import each other in a circle", rooms.join(", ")));
            return faults;
        }
    }
}

/// The path of a module, starting at the root of the crate.
type Module = Vec<String>;

fn room(module: &[String]) -> Option<&str> {
    module.first().map(String::as_str)
}

/// The definitions, re-exports and uses of one module.
#[derive(Default)]
struct Contents {
    /// The names in its scope, with the paths of imported ones.
    names: BTreeMap<String, Option<Vec<String>>>,
    globs: Vec<Vec<String>>,
    /// The paths in its text.
    paths: Vec<Vec<String>>,
    /// The types to which it adds methods.
    methods: Vec<(Vec<String>, BTreeSet<String>)>,
}

struct House {
    modules: BTreeMap<Module, Contents>,
}

impl House {
    fn read(src: &Path) -> House {
        let mut files = Vec::new();
        list(src, &mut files);
        let is_library =
            |file: &&PathBuf| !file.starts_with(src.join("bin")) && !file.ends_with("tests.rs");
        let texts = files.iter().filter(is_library).map(|file| {
            let inside = file.strip_prefix(src).expect("it is below").with_extension("");
            let mut module: Module =
                inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            module.pop_if(|last| ["lib", "mod"].contains(&last.as_str()));
            (module, fs::read_to_string(file).expect("a source is text"))
        });
        House::parse(texts)
    }

    fn of(modules: &[(&[&str], &str)]) -> House {
        House::parse(modules.iter().map(|(path, text)| {
            (path.iter().map(ToString::to_string).collect(), (*text).to_owned())
        }))
    }

    fn parse(texts: impl Iterator<Item = (Module, String)>) -> House {
        let modules = texts.map(|(module, text)| {
            let mut reader = Reader::default();
            reader.visit_file(&syn::parse_file(&text).expect("it compiles"));
            (module, reader.contents)
        });
        House { modules: modules.collect() }
    }

    /// Returns which module uses which other one, and where.
    fn arrows(&self) -> Arrows<'_> {
        let mut arrows = Arrows::new();
        for (module, contents) in &self.modules {
            let Some(from) = room(module) else { continue };
            let imported = contents.names.values().flatten().chain(&contents.globs);
            for path in imported.chain(&contents.paths) {
                let mut homes = BTreeSet::new();
                if let Some((home, _)) = self.resolve(module, path, 0) {
                    homes.insert(home);
                }
                homes.extend(self.method_homes(module, path));
                for to in homes.into_iter().filter_map(|home| room(home)) {
                    if from != to {
                        arrows.entry((from, to)).or_default().insert(module.join("::"));
                    }
                }
            }
        }
        arrows
    }

    /// Returns the modules that define `T::method` of a path in `module`, other than that of `T`.
    fn method_homes(&self, module: &Module, path: &[String]) -> Vec<&Module> {
        let Some((method, of_type)) = path.split_last() else { return Vec::new() };
        let Some(target) = self.resolve(module, of_type, 0) else { return Vec::new() };
        let adds = |(home, contents): &(&Module, &Contents)| {
            contents.methods.iter().any(|(path, names)| {
                names.contains(method) && self.resolve(home, path, 0).as_ref() == Some(&target)
            })
        };
        self.modules.iter().filter(adds).map(|(home, _)| home).collect()
    }

    /// Resolves a path in `module` to the defining module, and the name there.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<(&Module, String)> {
        assert!(depth < 32, "{path:?} in {module:?} is imported from itself");
        let (first, rest) = path.split_first()?;
        let mut here: Module = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            _ => return self.look_up(module, path, depth),
        };
        let mut rest = rest;
        while let Some((_, more)) = rest.split_first().filter(|(part, _)| *part == "super") {
            here.pop()?;
            rest = more;
        }
        self.look_up(&here, rest, depth)
    }

    fn look_up(&self, module: &Module, path: &[String], depth: usize) -> Option<(&Module, String)> {
        let (key, contents) = self.modules.get_key_value(module)?;
        let Some((name, rest)) = path.split_first() else {
            return Some((key, String::new()));
        };
        let child: Module = module.iter().chain([name]).cloned().collect();
        if self.modules.contains_key(&child) {
            return self.look_up(&child, rest, depth);
        }
        match contents.names.get(name) {
            Some(None) => Some((key, name.clone())),
            Some(Some(target)) => {
                let whole: Vec<String> = target.iter().chain(rest).cloned().collect();
                self.resolve(module, &whole, depth + 1)
            }
            None => contents.globs.iter().find_map(|glob| {
                let whole: Vec<String> = glob.iter().chain(path).cloned().collect();
                self.resolve(module, &whole, depth + 1)
            }),
        }
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[derive(Default)]
struct Reader {
    contents: Contents,
}

impl Reader {
    fn use_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |part: &syn::Ident| -> Vec<String> {
            before.iter().cloned().chain([part.to_string()]).collect()
        };
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.use_tree(before, tree));
            }
            syn::UseTree::Glob(_) => {
                // Other crates are ignored.
                if before.first().is_some_and(|root| ["crate", "self", "super"].contains(&&**root))
                {
                    self.contents.globs.push(before.to_vec());
                }
            }
            syn::UseTree::Name(name) => self.import(before, &name.ident, &name.ident),
            syn::UseTree::Rename(name) => self.import(before, &name.ident, &name.rename),
        }
    }

    fn import(&mut self, before: &[String], name: &syn::Ident, called: &syn::Ident) {
        let mut path = before.to_vec();
        let called = if name == "self" { before.last().cloned() } else { Some(called.to_string()) };
        if name != "self" {
            path.push(name.to_string());
        }
        if let Some(called) = called {
            self.contents.names.insert(called, Some(path));
        }
    }

    fn define(&mut self, name: &syn::Ident) {
        self.contents.names.insert(name.to_string(), None);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            // Tests may import any module.
            syn::Item::Mod(item) if item.ident == "tests" => return,
            syn::Item::Use(item) => {
                self.use_tree(&[], &item.tree);
                return;
            }
            syn::Item::Const(item) => self.define(&item.ident),
            syn::Item::Enum(item) => self.define(&item.ident),
            syn::Item::Fn(item) => self.define(&item.sig.ident),
            syn::Item::Static(item) => self.define(&item.ident),
            syn::Item::Struct(item) => self.define(&item.ident),
            syn::Item::Trait(item) => self.define(&item.ident),
            syn::Item::Type(item) => self.define(&item.ident),
            // Definitions of macros such as bitflags!.
            syn::Item::Macro(item) => {
                let words = item.mac.tokens.to_string();
                let mut words = words.split_whitespace();
                while let Some(word) = words.next() {
                    if ["struct", "enum"].contains(&word)
                        && let Some(name) = words.next()
                    {
                        let name = name.trim_end_matches(':');
                        self.contents.names.insert(name.to_owned(), None);
                    }
                }
            }
            syn::Item::Impl(item) if item.trait_.is_none() => {
                if let syn::Type::Path(of_type) = &*item.self_ty {
                    let names = item.items.iter().filter_map(|item| match item {
                        syn::ImplItem::Fn(method) => Some(method.sig.ident.to_string()),
                        syn::ImplItem::Const(constant) => Some(constant.ident.to_string()),
                        _ => None,
                    });
                    let names = names.collect();
                    self.contents.methods.push((segments(&of_type.path), names));
                }
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.contents.paths.push(segments(path));
        visit::visit_path(self, path);
    }
}

fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}
