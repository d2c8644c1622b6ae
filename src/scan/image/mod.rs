//! Images of containers, without unpacking or running them.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    ops::Range,
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

use self::{
    archive::{Blob, Hashing, Layer, Manifest, Store},
    layers::{Layers, Privileged},
    tar::{Archive, Kind, Source},
};
use super::{
    Host, Image, Inventory, LostCaps, PrivilegedFile, Unread, gather::Names, now, time::seconds,
};
use crate::{CapSet, Op, Result, file::FileCaps, settings::Profile};

mod archive;
mod layers;
mod tar;

/// The longest passwd(5) or group(5) that is kept of an image.
const LONGEST_DATABASE: u64 = 1 << 20;

/// Scans the image in a `docker save` archive or an OCI layout, in a directory or an archive.
/// Layers may be compressed with gzip or zstd.
///
/// The memory that it takes does not grow with the image: privileged files and symbolic links are
/// kept, up to a limit, at which the scan ends and is not complete.
///
/// # Errors
///
/// There is no such file, it is not an image, or it holds several. A layer that cannot be read is
/// in [`Inventory::unread`].
pub fn image(path: &Path) -> Result<Inventory> {
    let failed = |err: io::Error| Op::Open.on(path, err);
    let store = Store::open(path).map_err(failed)?;
    let manifest = store.manifest().map_err(failed)?;
    let name = path.display().to_string();
    Ok(of_manifest(&store, &manifest, &name))
}

/// Returns whether a path is that of a tar archive or of an OCI layout. Its content is not checked.
pub fn is_image(path: &Path) -> bool {
    const MAGIC: Range<usize> = 257..262;
    if path.join("oci-layout").is_file() {
        return true;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let Ok(file) = open(path, flags, Mode::empty()).map(File::from) else { return false };
    let mut head = [0; MAGIC.end];
    let is_file = file.metadata().is_ok_and(|stat| stat.is_file());
    is_file && file.read_exact_at(&mut head, 0).is_ok() && head[MAGIC] == *b"ustar"
}

/// Scans an image of the Docker daemon, as `docker save` writes it. It is kept meanwhile in a file
/// without a name in `directory`.
///
/// # Errors
///
/// Docker cannot be run or fails, there is no space, or what it wrote is not an image.
pub fn docker_image(name: &str, directory: &Path) -> Result<Inventory> {
    let failed = |err: io::Error| Op::Open.on(Path::new(name), err);
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = open(directory, flags, mode).map_err(|err| Op::Write.on(directory, err))?;
    let file = File::from(file);
    let mut command = crate::launch::helper("docker");
    command.args(["image", "save", "--", name]).stdin(Stdio::null()).stderr(Stdio::piped());
    command.stdout(file.try_clone().map_err(failed)?);
    let output = command.output().map_err(|err| Op::Execute.on(Path::new("docker"), err))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(failed(io::Error::other(words)));
    }
    let store = Store::of_archive(file).map_err(failed)?;
    let manifest = store.manifest().map_err(failed)?;
    Ok(of_manifest(&store, &manifest, name))
}

fn of_manifest(store: &Store, manifest: &Manifest, name: &str) -> Inventory {
    let mut inventory = Inventory {
        host: Host {
            name: super::encode(manifest.tag.as_deref().unwrap_or(name)),
            kernel: String::new(),
            time: now(),
            seconds: seconds(),
        },
        supported: CapSet::NAMED,
        ..Inventory::default()
    };
    let config = &manifest.config["config"];
    let label = config["Labels"]["io.containers.capabilities"].as_str();
    let asked = label.and_then(|text| CapSet::from_names(text, CapSet::NAMED).ok());
    inventory.bounding = asked.unwrap_or(Profile::Docker.given());
    let mut walk = Walk::default();
    for (nth, layer) in manifest.layers.iter().enumerate() {
        if nth > 0 {
            walk.layers.next_layer();
        }
        if let Err(err) = walk.layer(store, layer) {
            let subject = format!("layer {} ({})", nth + 1, layer.name.escape_debug());
            inventory.unread.push(Unread { subject, reason: crate::error::chain(&err) });
            // The changes of the layers above it are unknown.
            break;
        }
    }
    let mut names = Names::of_texts(&walk.users, &walk.groups);
    let Layers { files, lost, .. } = walk.layers;
    inventory.files =
        files.into_iter().map(|(path, file)| privileged(path, file, &mut names)).collect();
    let lost = lost.into_iter().map(|lost| LostCaps {
        path: absolute(lost.path),
        caps: FileCaps::decode(&lost.capability).ok(),
        given: lost.layers.0 + 1,
        taken: lost.layers.1 + 1,
    });
    inventory.image = Some(Image {
        tag: manifest.tag.clone(),
        user: config["User"].as_str().unwrap_or_default().to_owned(),
        capabilities: asked,
        layers: manifest.layers.len(),
        lost: lost.collect(),
    });
    inventory
}

fn privileged(path: Vec<u8>, file: Privileged, names: &mut Names) -> PrivilegedFile {
    let (caps, malformed) = match file.capability.map(|value| FileCaps::decode(&value)) {
        None => (None, None),
        Some(Ok(caps)) => (Some(caps), None),
        Some(Err(err)) => (None, Some(err.to_string())),
    };
    PrivilegedFile {
        path: absolute(path),
        mode: file.mode,
        uid: file.uid,
        gid: file.gid,
        owner: names.user(file.uid),
        group: names.group(file.gid),
        caps,
        malformed,
        ..PrivilegedFile::default()
    }
}

fn absolute(path: Vec<u8>) -> PathBuf {
    Path::new("/").join(std::ffi::OsString::from_vec(path))
}

/// The state after some layers.
#[derive(Debug, Default)]
struct Walk {
    layers: Layers,
    users: String,
    groups: String,
}

impl Walk {
    fn layer(&mut self, store: &Store, layer: &Layer) -> io::Result<()> {
        let blob = store.part(&layer.name)?;
        let hashing = Hashing::new(blob);
        let mut buffered = BufReader::with_capacity(64 * 1024, hashing);
        self.decompressed(&mut buffered)?;
        if let Some(wanted) = &layer.digest {
            let digest = buffered.into_inner().finish()?;
            if digest != *wanted {
                return Err(io::Error::other(format!("the layer has the digest {digest}")));
            }
        }
        Ok(())
    }

    /// Reads a layer, whichever way it is compressed.
    fn decompressed(&mut self, layer: &mut BufReader<Hashing<Blob>>) -> io::Result<()> {
        let head = layer.fill_buf()?;
        if head.starts_with(&[0x1f, 0x8b]) {
            return self.read(Plain(flate2::bufread::MultiGzDecoder::new(layer)));
        }
        // A zstd frame, or one that can be skipped, as the chunked form of images begins with.
        let is_skippable = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skippable {
            return self.read(Plain(Frames::new(layer)));
        }
        self.read(Plain(layer))
    }

    fn read(&mut self, source: impl Source) -> io::Result<()> {
        let mut archive = Archive::new(source);
        while let Some(entry) = archive.next_entry()? {
            let Some(path) = self.layers.resolve(&entry.path) else {
                return Err(io::Error::other("symbolic links in a circle"));
            };
            if entry.kind == Kind::File {
                let database = match &path[..] {
                    b"etc/passwd" => Some(&mut self.users),
                    b"etc/group" => Some(&mut self.groups),
                    _ => None,
                };
                if let Some(database) = database {
                    *database =
                        String::from_utf8_lossy(&archive.content(LONGEST_DATABASE)?).into_owned();
                }
            }
            self.layers.add(&entry, path).map_err(|err| io::Error::other(err.to_string()))?;
        }
        Ok(())
    }
}

/// A source that is read to be passed over.
struct Plain<R>(R);

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Source for Plain<R> {}

/// The frames of a zstd stream, one after the other. (RFC 8878)
struct Frames<'a, R: BufRead> {
    input: Option<&'a mut R>,
    frame: Option<Frame<'a, R>>,
}

type Frame<'a, R> = ruzstd::decoding::StreamingDecoder<&'a mut R, ruzstd::decoding::FrameDecoder>;

impl<'a, R: BufRead> Frames<'a, R> {
    fn new(input: &'a mut R) -> Frames<'a, R> {
        Frames { input: Some(input), frame: None }
    }

    /// Begins the next frame; `false` at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        let Some(input) = self.input.take() else { return Ok(false) };
        loop {
            if input.fill_buf()?.is_empty() {
                return Ok(false);
            }
            let mut head = [0; 4];
            if let [first @ 0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] = *input.fill_buf()? {
                let _ = first;
                input.read_exact(&mut head)?;
                input.read_exact(&mut head)?;
                let length = u64::from(u32::from_le_bytes(head));
                let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
                if skipped != length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            let frame = ruzstd::decoding::StreamingDecoder::new(input);
            self.frame = Some(frame.map_err(|err| io::Error::other(err.to_string()))?);
            return Ok(true);
        }
    }
}

impl<R: BufRead> Read for Frames<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
                self.input = self.frame.take().map(Frame::into_inner);
            }
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}
