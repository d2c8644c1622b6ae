//! A manager of file capabilities: reads those of a directory tree, removes one of them from all
//! files, and verifies the result.
//!
//!     cargo build --example files && sudo target/debug/examples/files

#![allow(clippy::print_stdout)]

use std::{collections::BTreeMap, error::Error, fs, path::Path};

use rcap::{
    Cap, CapState,
    file::{self, FileCaps, Scan},
};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("bin"))?;
    let texts = [("server", "cap_net_bind_service,cap_net_raw=ep"), ("bin/ping", "cap_net_raw=ep")];
    for (name, text) in texts {
        let path = dir.path().join(name);
        fs::write(&path, "")?;
        let caps = FileCaps::try_from(text.parse::<CapState>()?)?;
        let _ = CapState::with_raised(Cap::SETFCAP, || file::write(&path, &caps))?;
    }
    fs::write(dir.path().join("other"), "")?;

    for (path, caps) in Scan::default().collect(dir.path()).complete()? {
        println!("{} {}", path.display(), CapState::from(caps));
    }
    remove(dir.path(), Cap::NET_RAW)?;
    let left = FileCaps::try_from("cap_net_bind_service=ep".parse::<CapState>()?)?;
    let wanted = BTreeMap::from([(dir.path().join("server"), left)]);
    assert_eq!(Scan::default().collect(dir.path()).complete()?, wanted);
    Ok(())
}

/// Removes `cap` from all files below `root`.
fn remove(root: &Path, cap: Cap) -> Result<(), Box<dyn Error>> {
    for path in Scan::default().collect(root).complete()?.into_keys() {
        let _ = CapState::with_raised(Cap::SETFCAP, || {
            file::update(&path, |caps| {
                let mut caps = caps.unwrap_or_default();
                caps.permitted = caps.permitted.without(cap);
                Ok(Some(caps).filter(|caps| !caps.permitted.is_empty()))
            })
        })?;
    }
    Ok(())
}
