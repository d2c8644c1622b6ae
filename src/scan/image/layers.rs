//! The files of an image with privileges, layer over layer, as an engine would unpack them.
//!
//! Only what matters is kept: privileged files, and symbolic links, which can be part of another
//! entry's path.

use std::{collections::BTreeMap, fmt, ops::Bound};

use super::tar::{Entry, Kind};

/// How many bytes are kept of privileged files, which are reported, and of symbolic links: those of
/// 70,000 files and of 300,000 links.
const MOST_OF_FILES: usize = 16 << 20;
const MOST_OF_LINKS: usize = 64 << 20;
/// How many symbolic links are followed in one path. (`MAXSYMLINKS`, path_resolution(7))
const MOST_LINKS: usize = 40;
/// The approximate size of a map entry.
const OVERHEAD: usize = 128;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// A privileged file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Privileged {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) capability: Option<Vec<u8>>,
    layer: usize,
}

/// A file that lost its capabilities in a later layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) path: Vec<u8>,
    pub(super) capability: Vec<u8>,
    /// The layers, from 0, that gave them and that took them.
    pub(super) layers: (usize, usize),
}

/// The state of the layers so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) files: BTreeMap<Vec<u8>, Privileged>,
    pub(super) lost: Vec<Lost>,
    links: BTreeMap<Vec<u8>, (Vec<u8>, usize)>,
    kept_files: usize,
    kept_links: usize,
    layer: usize,
}

/// The error for an image whose privileged files and links do not fit in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the image has more privileged files and symbolic links than are kept")
    }
}

impl Layers {
    /// Begins with the next layer.
    pub(super) fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// Returns the path of an entry as it is in the image, through symbolic links before its last
    /// component; `None` if they lead in a circle.
    pub(super) fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut resolved: Vec<u8> = Vec::new();
        // The remaining path components, the next one last.
        let mut rest: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut followed = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                let parent = resolved.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                resolved.truncate(parent);
                continue;
            }
            let before = resolved.len();
            if before > 0 {
                resolved.push(b'/');
            }
            resolved.extend(&name);
            if rest.is_empty() {
                break;
            }
            if let Some((target, _)) = self.links.get(&resolved) {
                followed += 1;
                if followed > MOST_LINKS {
                    return None;
                }
                resolved.truncate(if target.starts_with(b"/") { 0 } else { before });
                rest.extend(components(target).rev().map(<[u8]>::to_vec));
            }
        }
        Some(resolved)
    }

    /// Takes an entry of the present layer, at its resolved path.
    pub(super) fn add(&mut self, entry: &Entry, path: Vec<u8>) -> Result<(), TooMany> {
        let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], &path[..]),
        };
        if name == OPAQUE {
            self.remove_below(parent, self.layer);
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            // Other names of this kind are an engine's own.
            if !hidden.starts_with(WHITEOUT) && !hidden.is_empty() {
                let path = if parent.is_empty() {
                    hidden.to_vec()
                } else {
                    [parent, b"/", hidden].concat()
                };
                self.remove(&path, self.layer);
                self.remove_below(&path, self.layer);
            }
            return Ok(());
        }
        self.put(entry, path)
    }

    /// Puts a file, a directory or a link at its path, in place of what was there.
    fn put(&mut self, entry: &Entry, path: Vec<u8>) -> Result<(), TooMany> {
        let all = self.layer + 1;
        if entry.kind != Kind::Directory {
            self.remove_below(&path, all);
        }
        let former = self.remove(&path, all);
        let new = self.privileged(entry);
        if let Some(Privileged { capability: Some(capability), layer, .. }) = former
            && matches!(entry.kind, Kind::File | Kind::HardLink)
            && new.as_ref().is_none_or(|new| new.capability.is_none())
        {
            self.keep_file(path.len() + capability.len())?;
            let path = path.clone();
            self.lost.push(Lost { path, capability, layers: (layer, self.layer) });
        }
        if let Some(file) = new {
            self.lost.retain(|lost| lost.path != path || file.capability.is_none());
            self.keep_file(path.len() + file.capability.as_ref().map_or(0, Vec::len))?;
            self.files.insert(path, file);
        } else if entry.kind == Kind::SymbolicLink {
            self.kept_links += path.len() + entry.link.len() + OVERHEAD;
            if self.kept_links > MOST_OF_LINKS {
                return Err(TooMany);
            }
            self.links.insert(path, (entry.link.clone(), self.layer));
        }
        Ok(())
    }

    /// Returns the file of an entry, if it is privileged.
    fn privileged(&self, entry: &Entry) -> Option<Privileged> {
        let layer = self.layer;
        let file = match entry.kind {
            Kind::File => {
                let Entry { mode, uid, gid, .. } = *entry;
                Privileged { mode, uid, gid, capability: entry.capability.clone(), layer }
            }
            Kind::HardLink => {
                let target = self.files.get(&self.resolve(&entry.link)?)?;
                Privileged { layer, ..target.clone() }
            }
            _ => return None,
        };
        (file.capability.is_some() || file.mode & 0o6000 != 0).then_some(file)
    }

    fn keep_file(&mut self, bytes: usize) -> Result<(), TooMany> {
        self.kept_files += bytes + OVERHEAD;
        if self.kept_files <= MOST_OF_FILES { Ok(()) } else { Err(TooMany) }
    }

    /// Removes what a layer before `before` has at this path.
    fn remove(&mut self, path: &[u8], before: usize) -> Option<Privileged> {
        if self.links.get(path).is_some_and(|(_, layer)| *layer < before) {
            self.links.remove(path);
        }
        let is_before = self.files.get(path).is_some_and(|file| file.layer < before);
        if is_before { self.files.remove(path) } else { None }
    }

    /// Removes what layers before `before` have below this path.
    fn remove_below(&mut self, path: &[u8], before: usize) {
        let first = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        for path in below(&self.files, &first, |file| file.layer < before) {
            self.files.remove(&path);
        }
        for path in below(&self.links, &first, |(_, layer)| *layer < before) {
            self.links.remove(&path);
        }
    }
}

/// Returns the paths of a map that begin with `first` and whose values are meant.
fn below<T>(
    map: &BTreeMap<Vec<u8>, T>,
    first: &[u8],
    is_meant: impl Fn(&T) -> bool,
) -> Vec<Vec<u8>> {
    let range = map.range::<[u8], _>((Bound::Included(first), Bound::Unbounded));
    let range = range.take_while(|(path, _)| path.starts_with(first));
    range.filter(|(_, one)| is_meant(one)).map(|(path, _)| path.clone()).collect()
}

/// Returns the components of a path, without empty ones and dots.
fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry in few words: `f` a file with a capability, `s` a set-user-ID one, `p` a plain one,
    /// `d` a directory, `l` a symbolic link, `h` a hard link.
    fn entry(words: &str) -> Entry {
        let mut words = words.split(' ');
        let (kind, path, link) = (words.next(), words.next(), words.next());
        let (kind, mode, is_capable) = match kind.unwrap() {
            "f" => (Kind::File, 0o755, true),
            "s" => (Kind::File, 0o4755, false),
            "p" => (Kind::File, 0o755, false),
            "d" => (Kind::Directory, 0o755, false),
            "l" => (Kind::SymbolicLink, 0o777, false),
            "h" => (Kind::HardLink, 0o755, false),
            other => panic!("{other}"),
        };
        Entry {
            kind,
            path: path.unwrap().into(),
            link: link.unwrap_or_default().into(),
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            capability: is_capable.then(|| vec![1]),
        }
    }

    /// The files that are left and those that lost something, of layers between semicolons.
    fn left(layers: &str) -> (String, String) {
        let mut all = Layers::default();
        for (nth, layer) in layers.split("; ").enumerate() {
            if nth > 0 {
                all.next_layer();
            }
            for words in layer.split(", ") {
                let entry = entry(words);
                let path = all.resolve(&entry.path).unwrap();
                all.add(&entry, path).unwrap();
            }
        }
        let words = |paths: Vec<&Vec<u8>>| {
            let words: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
            words.join(" ")
        };
        (words(all.files.keys().collect()), words(all.lost.iter().map(|lost| &lost.path).collect()))
    }

    #[test]
    fn layers() {
        #[rustfmt::skip]
        let rows = [
            ("f a/b, p a/c, s d",                      "a/b d",       ""),
            ("f ./a/b, f /c",                          "a/b c",       ""),
            ("f a; s a",                               "a",           "a"),
            ("f a; p a",                               "",            "a"),
            ("f a; p a; f a",                          "a",           ""),
            ("f a; p .wh.a",                           "",            ""),
            ("f d/a, f d/b; p d/.wh.a",                "d/b",         ""),
            ("f d/a, f da; p .wh.d",                   "da",          ""),
            // Opaque for lower layers, wherever the marker is.
            ("f d/a; f d/b, p d/.wh..wh..opq, f d/c",  "d/b d/c",     ""),
            ("f a; p .wh..wh..opq",                    "",            ""),
            ("f a; p .wh..wh.plnk",                    "a",           ""),
            // A whiteout and the same name in one layer: the new one stays.
            ("f a; f a, p .wh.a",                      "a",           ""),
            ("f d/a; p d",                             "",            ""),
            ("f d/a; d d",                             "d/a",         ""),
            ("f d/a; l d e",                           "",            ""),
            ("l bin usr/bin, f bin/a",                 "usr/bin/a",   ""),
            ("l bin /usr/bin; p .wh.bin; f bin/a",     "bin/a",       ""),
            ("l a/b ../c, f a/b/d",                    "c/d",         ""),
            ("l a b, l b c, f a/x",                    "c/x",         ""),
            ("f a, h b a",                             "a b",         ""),
            ("f a, h b a; p .wh.a",                    "b",           ""),
            ("f ../../a, f b/../c",                    "a c",         ""),
            ("f a; h a b",                             "",            "a"),
        ];
        for (layers, files, lost) in rows {
            assert_eq!(left(layers), (files.into(), lost.into()), "{layers}");
        }
    }

    #[test]
    fn circles_and_limits() {
        let mut all = Layers::default();
        for words in ["l a b", "l b a"] {
            let entry = entry(words);
            all.add(&entry, entry.path.clone()).unwrap();
        }
        assert_eq!(all.resolve(b"a/x"), None);
        assert_eq!(all.resolve(b"a"), Some(b"a".to_vec()));
        let mut all = Layers::default();
        let mut entry = entry("s x");
        entry.capability = Some(vec![0; 1 << 20]);
        let results: Vec<_> = (0..70_u8).map(|nth| all.add(&entry, vec![nth + 33])).collect();
        assert_eq!(results.iter().position(Result::is_err), Some(15));
    }
}
