//! `rcap scan --image` beside getcap on the unpacked tree, and on archives that attack it.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use common::{Ran, directory, program, ran};
use rcap::{
    Cap, CapSet,
    file::{self, FileCaps},
};
use serde_json::{Value, json};

tests! {
    Nothing ["tar"]:
        what_is_no_image,
        bounded_memory;
    Root ["getcap gzip tar zstd"]:
        twenty_images,
        findings_of_an_image,
        an_image_for_this_machine,
        blobs_have_their_digests;
}

fn make(path: &Path, mode: u32, caps: impl Into<CapSet>) {
    let caps = caps.into();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "content").unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    if !caps.is_empty() {
        let caps = FileCaps { permitted: caps, effective: true, ..FileCaps::EMPTY };
        let _ = file::write(path, &caps).unwrap();
    }
}

#[track_caller]
fn sh(dir: &Path, script: &str) {
    let ran = ran(Command::new("sh").args(["-ec", script]).current_dir(dir));
    assert_eq!(ran.status, Some(0), "{script}: {ran:?}");
}

const XATTRS: &str = "--xattrs --xattrs-include='*' --format=posix";

/// How an image is packed.
#[derive(Clone, Copy, Debug)]
enum Form {
    DockerSave,
    Layout,
    LayoutArchive,
}

/// Packs directories as the layers of an image.
fn pack(dir: &Path, layers: &[PathBuf], form: Form, compression: &str, config: &Value) -> PathBuf {
    let out = dir.join("image");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(out.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = digest(dir, bytes);
        fs::write(out.join("blobs").join(digest.replace(':', "/")), bytes).unwrap();
        digest
    };
    let mut digests = Vec::new();
    for layer in layers {
        let packed = dir.join("layer");
        let tree = layer.display();
        let tar = format!("tar {XATTRS} -cf {0}/plain -C {tree} .", dir.display());
        sh(dir, &tar);
        let compress = match compression {
            "" => "cat plain >layer",
            "gzip" => "gzip -c plain >layer",
            "zstd" => "zstd -qc plain >layer",
            // Two frames, with one between them that is to be skipped.
            "frames" => {
                "head -c 700 plain >head; tail -c +701 plain >tail; zstd -qc head >layer; \
                 printf '\\120\\052\\115\\030\\003\\000\\000\\000xyz' >>layer; \
                 zstd -qc tail >>layer"
            }
            other => panic!("{other}"),
        };
        sh(dir, compress);
        digests.push(blob(&fs::read(&packed).unwrap()));
    }
    let config = blob(config.to_string().as_bytes());
    let descriptor = |digest: &String| json!({"mediaType": "x", "digest": digest, "size": 1});
    match form {
        Form::DockerSave => {
            let path = |digest: &String| digest.replace("sha256:", "blobs/sha256/");
            let layers: Vec<_> = digests.iter().map(path).collect();
            let manifest =
                json!([{"Config": path(&config), "RepoTags": ["image:1"], "Layers": layers}]);
            fs::write(out.join("manifest.json"), manifest.to_string()).unwrap();
        }
        Form::Layout | Form::LayoutArchive => {
            let layers: Vec<_> = digests.iter().map(descriptor).collect();
            let manifest = json!({"config": descriptor(&config), "layers": layers});
            let manifest = blob(manifest.to_string().as_bytes());
            let index = json!({"manifests": [descriptor(&manifest)]});
            fs::write(out.join("index.json"), index.to_string()).unwrap();
            fs::write(out.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        }
    }
    if matches!(form, Form::Layout) {
        return out;
    }
    let archive = dir.join("image.tar");
    sh(dir, "tar -cf image.tar -C image .");
    archive
}

fn digest(dir: &Path, bytes: &[u8]) -> String {
    fs::write(dir.join("sum"), bytes).unwrap();
    let sum = ran(Command::new("sha256sum").arg(dir.join("sum"))).out;
    fs::remove_file(dir.join("sum")).unwrap();
    format!("sha256:{}", sum.split(' ').next().unwrap())
}

#[track_caller]
fn scan(image: &Path) -> Value {
    let ran = ran(program("rcap").args(["scan", "--json", "--image"]).arg(image));
    assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{}", image.display());
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["unread"], json!([]));
    json
}

/// A sequence of numbers that is the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Images of random layers: the files that getcap finds in the unpacked tree are those of the scan.
fn twenty_images() {
    let dir = directory();
    let forms = [Form::DockerSave, Form::Layout, Form::LayoutArchive];
    for nth in 0..20 {
        let mut numbers = Numbers(nth);
        let layers: Vec<PathBuf> = (0..3)
            .map(|layer| {
                let tree = dir.path().join(format!("tree{layer}"));
                let _ = fs::remove_dir_all(&tree);
                fs::create_dir(&tree).unwrap();
                for _ in 0..12 {
                    let path = tree.join(format!("d{}/f {}", numbers.below(2), numbers.below(5)));
                    match numbers.below(4) {
                        0 => make(&path, 0o755, CapSet::empty()),
                        1 => make(&path, 0o4755, CapSet::empty()),
                        // All combinations of two bytes, including a newline.
                        _ => {
                            let bits = numbers.below(0x10000) as u64 | 1 << numbers.below(41);
                            make(&path, 0o755, CapSet::from_bits(bits));
                        }
                    }
                }
                tree
            })
            .collect();
        let compression = ["", "gzip", "zstd", "frames"][numbers.below(4)];
        let form = forms[numbers.below(3)];
        let image = pack(dir.path(), &layers, form, compression, &json!({}));
        let unpacked = dir.path().join("unpacked");
        let _ = fs::remove_dir_all(&unpacked);
        fs::create_dir(&unpacked).unwrap();
        for layer in &layers {
            let [layer, unpacked] = [layer.display(), unpacked.display()];
            sh(
                dir.path(),
                &format!("tar {XATTRS} -c -C {layer} . | tar {XATTRS} -xp -C {unpacked}"),
            );
        }
        let getcap = ran(Command::new("getcap").arg("-r").arg(&unpacked)).out;
        let below = format!("{}", unpacked.display());
        let theirs: BTreeSet<String> =
            getcap.lines().map(|line| line.strip_prefix(&below).unwrap().to_owned()).collect();
        let json = scan(&image);
        let files = json["files"].as_array().unwrap();
        let text =
            |file: &Value| Some(format!("{} {}", file["path"].as_str()?, file["text"].as_str()?));
        let ours: BTreeSet<String> = files.iter().filter_map(text).collect();
        assert_eq!(ours, theirs, "{nth} {form:?} {compression}");
        let is_set_uid = |file: &&Value| file["mode"] == "4755";
        let mut bits = 0;
        for file in files.iter().filter(is_set_uid) {
            let path = unpacked.join(&file["path"].as_str().unwrap()[1..]);
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o4755);
            bits += 1;
        }
        let all = ran(Command::new("sh")
            .current_dir(&unpacked)
            .args(["-c", "for f in d*/*; do if [ -u \"$f\" ]; then echo x; fi; done"]));
        assert_eq!(all.out.lines().count(), bits);
    }
}

fn findings_of_an_image() {
    let dir = directory();
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    make(&first.join("usr/tcpdump"), 0o755, Cap::NET_ADMIN | Cap::NET_RAW);
    make(&first.join("usr/server"), 0o755, Cap::NET_BIND_SERVICE);
    make(&first.join("usr/su"), 0o4755, CapSet::empty());
    make(&first.join("usr/python3"), 0o755, Cap::NET_BIND_SERVICE);
    make(&first.join("usr/gone"), 0o4755, CapSet::empty());
    fs::create_dir_all(first.join("etc")).unwrap();
    fs::write(first.join("etc/passwd"), "boss:x:0:0::/:\n").unwrap();
    make(&second.join("usr/server"), 0o755, CapSet::empty());
    make(&second.join("usr/.wh.gone"), 0o644, CapSet::empty());
    let config = json!({"config": {"User": "web", "Labels": {"a": "b"}}});
    let image =
        pack(dir.path(), &[first.clone(), second.clone()], Form::DockerSave, "gzip", &config);
    let json = scan(&image);
    let findings = json["findings"].as_array().unwrap();
    let rows: BTreeSet<String> = findings
        .iter()
        .map(|one| format!("{} {}", one["id"].as_str().unwrap(), one["subject"].as_str().unwrap()))
        .collect();
    let want = [
        "file-interpreter /usr/python3",
        "image-lost /usr/server",
        "image-set-id /usr/su",
        "image-unusable /usr/tcpdump",
    ];
    assert_eq!(rows, want.map(str::to_owned).into());
    assert_eq!(json["image"], json!({"user": "web", "capabilities": null, "layers": 2}));
    assert_eq!(json["files"][0]["owner"], "boss");
    assert_eq!(json["host"], "image:1");
    // Podman's label asks for the capabilities.
    let config = json!({"config": {"Labels": {"io.containers.capabilities": "NET_ADMIN,NET_RAW"}}});
    let image = pack(dir.path(), &[first, second], Form::DockerSave, "gzip", &config);
    let json = scan(&image);
    let unusable = |one: &&Value| one["id"] == "image-unusable";
    let unusable = json["findings"].as_array().unwrap().iter().filter(unusable);
    assert_eq!(unusable.map(|one| &one["subject"]).collect::<Vec<_>>(), ["/usr/python3"]);
}

/// The image for this machine in an index with several platforms.
fn an_image_for_this_machine() {
    let dir = directory();
    let tree = dir.path().join("tree");
    make(&tree.join("ping"), 0o755, Cap::NET_RAW);
    let image = pack(dir.path(), &[tree], Form::Layout, "", &json!({}));
    let index: Value =
        serde_json::from_slice(&fs::read(image.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].clone();
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = |digest: &Value, architecture: &str| json!({"digest": digest, "platform": {"os": "linux", "architecture": architecture}});
    let other = json!(format!("sha256:{}", "0".repeat(64)));
    let both = json!({"manifests": [platform(&other, "vax"), platform(&digest, own)]});
    fs::write(image.join("index.json"), both.to_string()).unwrap();
    assert_eq!(scan(&image)["files"][0]["path"], "/ping");
    let none = json!({"manifests": [platform(&other, "vax"), platform(&other, "pdp11")]});
    fs::write(image.join("index.json"), none.to_string()).unwrap();
    let ran = ran(program("rcap").args(["scan", "--image"]).arg(&image));
    assert_eq!(ran.status, Some(2));
    assert!(ran.err.contains("2 images are in it"), "{ran:?}");
}

fn blobs_have_their_digests() {
    let dir = directory();
    let tree = dir.path().join("tree");
    make(&tree.join("ping"), 0o755, Cap::NET_RAW);
    let image = pack(dir.path(), &[tree], Form::Layout, "", &json!({}));
    let blobs = fs::read_dir(image.join("blobs/sha256")).unwrap();
    let layer =
        blobs.map(|blob| blob.unwrap().path()).max_by_key(|path| fs::metadata(path).unwrap().len());
    let layer = layer.unwrap();
    let mut bytes = fs::read(&layer).unwrap();
    bytes.push(0);
    fs::write(&layer, &bytes).unwrap();
    let ran = ran(program("rcap")
        .args(["scan", "--json", "--fail-on", "critical", "--image"])
        .arg(&image));
    assert_eq!(ran.status, Some(2), "{ran:?}");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["complete"], false);
    assert!(json["unread"][0]["reason"].as_str().unwrap().contains("has the digest"), "{json}");
    // A layer that is a link out of the image is not part of it.
    fs::rename(&layer, dir.path().join("outside")).unwrap();
    symlink("../../../outside", &layer).unwrap();
    let json: Value = serde_json::from_str(
        &common::ran(program("rcap").args(["scan", "--json", "--image"]).arg(&image)).out,
    )
    .unwrap();
    assert_eq!(json["complete"], false);
    assert_eq!(json["files"], json!([]));
}

fn what_is_no_image() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("text"), "x".repeat(2000)).unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::create_dir(path("dir")).unwrap();
    fs::write(path("two"), "").unwrap();
    sh(dir.path(), "echo '[{},{}]' >manifest.json; tar -cf two manifest.json; tar -cf other text");
    sh(
        dir.path(),
        "echo '[{\"Config\":\"../text\",\"Layers\":[]}]' >manifest.json; tar -cf out manifest.json",
    );
    #[rustfmt::skip]
    let rows = [
        ("missing", "No such file or directory"),
        ("text",    "not a tar archive"),
        ("empty",   "index.json: "),
        ("dir",     "index.json: "),
        ("other",   "index.json: "),
        ("two",     "2 images are in it, and one is expected"),
        ("out",     "../text: "),
    ];
    for (name, want) in rows {
        let Ran { status, out, err } =
            ran(program("rcap").args(["scan", "--image"]).arg(path(name)));
        assert_eq!((status, &*out), (Some(2), ""), "{name}: {err}");
        assert!(err.contains(want) && err.contains(name), "{name}: {err}");
    }
}

/// A header of a tar archive for a set-user-ID file.
fn header(name: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0004755");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// Under a limit of memory, neither a long file nor many names end in an abort.
fn bounded_memory() {
    let dir = directory();
    let scan = || {
        let mut command = Command::new("sh");
        let script = "ulimit -v 400000; exec \"$0\" scan --json --image .";
        let command = command.current_dir(dir.path()).args(["-c", script]);
        let ran = ran(command.arg(program("rcap").get_program()));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        serde_json::from_str::<Value>(&ran.out).unwrap()
    };
    let manifest = json!([{"Config": "config", "Layers": ["layer"]}]);
    fs::write(dir.path().join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(dir.path().join("config"), "{}").unwrap();
    // A file of 600 MB, most of which is a hole.
    let long = 600 << 20;
    let layer = fs::File::create(dir.path().join("layer")).unwrap();
    layer.set_len(512 + long + 1024).unwrap();
    let put = |at: u64, bytes: &[u8]| {
        std::os::unix::fs::FileExt::write_all_at(&layer, bytes, at).unwrap();
    };
    put(0, &header("long", long));
    put(512 + long, &header("after", 0));
    layer.set_len(512 + long + 512).unwrap();
    let json = scan();
    assert_eq!(json["unread"], json!([]));
    let paths: Vec<_> =
        json["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(paths, ["/after", "/long"]);
    // More names than are kept.
    let mut layer = std::io::BufWriter::new(fs::File::create(dir.path().join("layer")).unwrap());
    for nth in 0..100_000 {
        layer.write_all(&header(&format!("{nth:098}"), 0)).unwrap();
    }
    drop(layer);
    let json = scan();
    assert_eq!(json["complete"], false);
    assert!(
        json["unread"][0]["reason"].as_str().unwrap().contains("than are kept"),
        "{}",
        json["unread"]
    );
}
