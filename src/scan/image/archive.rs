//! The parts of an image: `docker save` archives, and OCI layouts in a directory or an archive.
//! (github.com/opencontainers/image-spec)

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::fd::OwnedFd,
    path::Path,
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::tar::{Archive, Kind, Source};
use crate::scan::saved::hex;

/// The longest JSON that is read.
const LONGEST: u64 = 16 << 20;
/// How many parts an archive may have.
const MOST_PARTS: usize = 100_000;

/// Where the parts of an image are.
pub(super) enum Store {
    Directory(OwnedFd),
    /// An archive, and where the content of each file in it begins, and its length.
    Archive {
        file: File,
        parts: BTreeMap<Vec<u8>, Part>,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    Content { offset: u64, size: u64 },
    Link(Vec<u8>),
}

/// A file, or a part of one.
pub(super) type Blob = io::Take<BufReader<File>>;

impl Source for Blob {}

/// An archive that is read with jumps over content.
struct Jumping {
    file: BufReader<File>,
    at: u64,
    end: u64,
}

impl Read for Jumping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.at += u64::try_from(read).unwrap_or(0);
        Ok(read)
    }
}

impl Source for Jumping {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end);
        self.at = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let offset = i64::try_from(count).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        self.file.seek_relative(offset)
    }
}

fn invalid(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.into())
}

impl Store {
    /// Opens a directory or an archive.
    pub(super) fn open(path: &Path) -> io::Result<Store> {
        let found = crate::file::locate(path, OFlag::empty())?;
        let kind = found.metadata()?.file_type();
        if kind.is_dir() {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            return Ok(Store::Directory(open(path, flags, Mode::empty())?));
        }
        if !kind.is_file() {
            return Err(io::Error::other("not a regular file or a directory"));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        Store::of_archive(File::from(open(path, flags, Mode::empty())?))
    }

    /// Finds the parts of an archive. A compressed one would have to be read as a whole for each.
    pub(super) fn of_archive(file: File) -> io::Result<Store> {
        let stat = file.metadata()?;
        if !stat.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut again = file.try_clone()?;
        again.seek(SeekFrom::Start(0))?;
        let source = Jumping { file: BufReader::new(again), at: 0, end: stat.len() };
        let mut archive = Archive::new(source);
        let mut parts = BTreeMap::new();
        while let Some(entry) = archive.next_entry()? {
            let part = match entry.kind {
                Kind::File => Part::Content { offset: archive.position(), size: entry.size },
                Kind::SymbolicLink | Kind::HardLink => Part::Link(entry.link),
                _ => continue,
            };
            let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path).to_vec();
            parts.insert(name, part);
            if parts.len() > MOST_PARTS {
                return Err(invalid("more parts than an image has"));
            }
        }
        Ok(Store::Archive { file, parts })
    }

    /// Opens a part by its name.
    pub(super) fn part(&self, name: &str) -> io::Result<Blob> {
        match self {
            Store::Directory(directory) => {
                let flags =
                    OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
                let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
                let how = OpenHow::new().flags(flags).resolve(resolve);
                let file = File::from(openat2(directory, name, how)?);
                let stat = file.metadata()?;
                if !stat.is_file() {
                    return Err(io::Error::other("not a regular file"));
                }
                Ok(BufReader::new(file).take(stat.len()))
            }
            Store::Archive { file, parts } => {
                let (offset, size) = find(parts, name.as_bytes())?;
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(offset))?;
                Ok(BufReader::with_capacity(64 * 1024, file).take(size))
            }
        }
    }

    fn text(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut part = self.part(name).map_err(|err| named(&err, name))?;
        if part.limit() > LONGEST {
            return Err(invalid(format!("{name}: longer than 16 MiB")));
        }
        part.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn json(&self, name: &str) -> io::Result<Value> {
        serde_json::from_slice(&self.text(name)?).map_err(|err| invalid(format!("{name}: {err}")))
    }

    /// Returns the JSON of a blob that a digest names, if that is the blob's.
    fn json_of(&self, digest: &str) -> io::Result<Value> {
        let name = blob_name(digest)?;
        let text = self.text(&name)?;
        if format!("sha256:{}", hex(&Sha256::digest(&text))) != digest {
            return Err(invalid(format!("{digest}: the blob has another digest")));
        }
        serde_json::from_slice(&text).map_err(|err| invalid(format!("{digest}: {err}")))
    }

    /// Finds the image, which has to be the only one, or the only one for this machine.
    pub(super) fn manifest(&self) -> io::Result<Manifest> {
        match self.json("manifest.json") {
            Ok(list) => self.of_docker(&list),
            Err(err) if err.kind() == io::ErrorKind::NotFound => self.of_layout(),
            Err(err) => Err(err),
        }
    }

    /// By the manifest of `docker save`.
    fn of_docker(&self, list: &Value) -> io::Result<Manifest> {
        let malformed = || invalid("manifest.json: not that of docker save");
        let list = list.as_array().ok_or_else(malformed)?;
        let [image] = &list[..] else {
            return Err(invalid(format!("{} images are in it, and one is expected", list.len())));
        };
        let config = self.json(image["Config"].as_str().ok_or_else(malformed)?)?;
        let layers = image["Layers"].as_array().ok_or_else(malformed)?;
        let layer = |name: &Value| {
            let name = name.as_str().ok_or_else(malformed)?.to_owned();
            // Since Docker 25 the names are those of an OCI layout, and say the digest.
            let digest = name.strip_prefix("blobs/sha256/").map(|hex| format!("sha256:{hex}"));
            Ok(Layer { name, digest })
        };
        let layers = layers.iter().map(layer).collect::<io::Result<_>>()?;
        let tag = image["RepoTags"][0].as_str().map(str::to_owned);
        Ok(Manifest { tag, config, layers })
    }

    /// By the index of an OCI layout.
    fn of_layout(&self) -> io::Result<Manifest> {
        let index = self.json("index.json")?;
        let descriptor = chosen(&index)?;
        let tag = &descriptor["annotations"]["org.opencontainers.image.ref.name"];
        let tag = tag.as_str().map(str::to_owned);
        let mut manifest = self.json_of(digest(descriptor)?)?;
        // An index for several platforms, which is not in an index for several platforms.
        if manifest.get("manifests").is_some() {
            manifest = self.json_of(digest(chosen(&manifest)?)?)?;
        }
        let config = self.json_of(digest(&manifest["config"])?)?;
        let layers =
            manifest["layers"].as_array().ok_or_else(|| invalid("no layers in the manifest"))?;
        let layer = |descriptor: &Value| {
            let digest = digest(descriptor)?;
            Ok(Layer { name: blob_name(digest)?, digest: Some(digest.to_owned()) })
        };
        let layers = layers.iter().map(layer).collect::<io::Result<_>>()?;
        Ok(Manifest { tag, config, layers })
    }
}

/// An image.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) tag: Option<String>,
    pub(super) config: Value,
    /// The lowest first.
    pub(super) layers: Vec<Layer>,
}

/// A layer: the part that it is in, and its digest if that is known.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) digest: Option<String>,
}

fn named(err: &io::Error, name: &str) -> io::Error {
    io::Error::new(err.kind(), format!("{name}: {}", crate::error::chain(err)))
}

fn find(parts: &BTreeMap<Vec<u8>, Part>, name: &[u8]) -> io::Result<(u64, u64)> {
    let mut name = name.to_vec();
    // docker save writes a layer that it has written before as a link: ../ID/layer.tar.
    for _ in 0..8 {
        match parts.get(&name).ok_or(io::ErrorKind::NotFound)? {
            Part::Content { offset, size } => return Ok((*offset, *size)),
            Part::Link(target) => {
                name = match target.strip_prefix(b"../") {
                    Some(rest) => rest.to_vec(),
                    None => target.clone(),
                };
            }
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn digest(descriptor: &Value) -> io::Result<&str> {
    descriptor["digest"].as_str().ok_or_else(|| invalid("a descriptor without a digest"))
}

/// Returns the name of the blob that a digest names: nothing else can be in it.
fn blob_name(digest: &str) -> io::Result<String> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    });
    let hex =
        hex.ok_or_else(|| invalid(format!("{}: not a SHA-256 digest", digest.escape_debug())))?;
    Ok(format!("blobs/sha256/{hex}"))
}

/// Returns the only manifest of an index, or the only one for this machine.
fn chosen(index: &Value) -> io::Result<&Value> {
    let all =
        index["manifests"].as_array().ok_or_else(|| invalid("index.json has no manifests"))?;
    if let [one] = &all[..] {
        return Ok(one);
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut own = all.iter().filter(|one| {
        one["platform"]["os"] == "linux" && one["platform"]["architecture"] == architecture
    });
    match (own.next(), own.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(invalid(format!(
            "{} images are in it, and not exactly one is for linux/{architecture}",
            all.len()
        ))),
    }
}

impl Archive<Jumping> {
    /// Returns where the content of the last entry begins.
    fn position(&self) -> u64 {
        self.source().at
    }
}

/// A reader that computes the SHA-256 of all that passes.
pub(super) struct Hashing<R> {
    pub(super) inner: R,
    hash: Sha256,
}

impl<R: BufRead> Hashing<R> {
    pub(super) fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hash: Sha256::new() }
    }

    /// Reads what is left, and returns the digest of everything.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format!("sha256:{}", hex(&self.hash.finalize())))
    }
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}
