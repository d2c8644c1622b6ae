//! What needs the privilege of root, in a user namespace.

mod common;

use std::fs;

use common::{directory, run};

tests! {
    UserNamespace: set_and_get;
}

fn set_and_get() {
    let dir = directory();
    fs::write(dir.path().join("f"), "").unwrap();
    assert_eq!(run(dir.path(), "setcap", ["cap_net_raw+ep", "f"]).status, Some(0));
    let got = run(dir.path(), "getcap", ["f"]);
    assert_eq!((got.status, &*got.out), (Some(0), "f cap_net_raw=ep\n"));
}
