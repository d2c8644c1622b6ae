//! The functions of the fuzz targets over their corpora, and over damaged copies of each input.

#[allow(unreachable_pub, reason = "the fuzz targets use this file as a library")]
#[path = "corpora/parsers.rs"]
mod parsers;

use std::{collections::BTreeSet, fs, path::Path};

const CORPORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/corpora");

/// Damages an input in one place: the end is cut off, a byte is changed, or a part is repeated.
fn damaged(input: &[u8], nth: usize) -> Vec<u8> {
    let at = nth.wrapping_mul(2_654_435_761) % input.len().max(1);
    let mut bytes = input.to_vec();
    match nth % 4 {
        0 => bytes.truncate(at),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (nth % 8)),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = 0xff),
        _ => bytes.extend_from_within(at..),
    }
    bytes
}

#[test]
fn no_input_panics() {
    for (name, parser) in parsers::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(Path::new(CORPORA).join(name)).unwrap() {
            let input = fs::read(entry.unwrap().path()).unwrap();
            inputs += 1;
            parser(&input);
            (0..40).for_each(|nth| parser(&damaged(&input, nth)));
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}

#[test]
fn every_corpus_has_a_target() {
    let corpora: BTreeSet<String> = fs::read_dir(CORPORA)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let targets: BTreeSet<_> =
        parsers::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(corpora, targets);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    // The package on crates.io has the corpora, but not the crate fuzz.
    if root.exists() {
        let files = fs::read_dir(root).unwrap();
        let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
        let names = names.map(|name| name.into_string().unwrap());
        assert_eq!(names.collect::<BTreeSet<_>>(), targets);
    }
}
