//! Targets of calls, by tables.

use super::*;

fn call(arguments: [u64; 6], texts: [&str; 2], bytes: &[u8]) -> Call {
    let mut all = [0; 32];
    all[..bytes.len()].copy_from_slice(bytes);
    Call {
        arguments,
        texts: texts.map(|text| text.as_bytes().to_vec()),
        bytes: Some(all),
        ..Call::default()
    }
}

#[test]
fn targets() {
    type Row = (&'static str, [u64; 6], [&'static str; 2], Vec<u8>, Option<Referent>);
    let cwd = u64::from(u32::from_ne_bytes(libc::AT_FDCWD.to_ne_bytes()));
    let path =
        |directory, path: &str| Some(Referent::Path { directory, path: path.as_bytes().to_vec() });
    let other = |words: &str| Some(Referent::Other(words.to_owned()));
    let [inet, inet6, unix] =
        [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX].map(|family| u16::try_from(family).unwrap());
    let sockaddr = |family: u16, rest: &[u8]| [&family.to_ne_bytes()[..], rest].concat();
    let number = |number: i32| u64::from(u32::from_ne_bytes(number.to_ne_bytes()));
    let socket = [number(libc::SOL_SOCKET), number(libc::SO_MARK)];
    #[rustfmt::skip]
    let rows: [Row; 14] = [
        ("openat",     [cwd, 1, 0, 0, 0, 0], ["", "/etc/shadow"], vec![], path(None, "/etc/shadow")),
        ("openat",     [5, 1, 0, 0, 0, 0],   ["", "file"],        vec![], path(Some(5), "file")),
        ("fchownat",   [5, 1, 0, 0, 0, 0],   ["", ""],            vec![], Some(Referent::Descriptor(5))),
        ("openat",     [cwd, 1, 0, 0, 0, 0], ["", ""],            vec![], None),
        ("chown",      [1, 0, 0, 0, 0, 0],   ["a", ""],           vec![], path(None, "a")),
        ("mount",      [1, 2, 0, 0, 0, 0],   ["none", "/mnt"],    vec![], path(None, "/mnt")),
        ("fchown",     [7, 0, 0, 0, 0, 0],   ["", ""],            vec![], Some(Referent::Descriptor(7))),
        ("kill",       [12, 9, 0, 0, 0, 0],  ["", ""],            vec![], Some(Referent::Process(12))),
        ("ptrace",     [16, 12, 0, 0, 0, 0], ["", ""],            vec![], Some(Referent::Process(12))),
        ("bind",       [3, 1, 16, 0, 0, 0],  ["", ""],
         sockaddr(inet, &[0, 80, 127, 0, 0, 1]),                          other("127.0.0.1:80")),
        ("bind",       [3, 1, 28, 0, 0, 0],  ["", ""],
         sockaddr(inet6, &[0, 80]),                                       other("[::]:80")),
        ("connect",    [3, 1, 28, 0, 0, 0],  ["", ""],
         sockaddr(unix, b"/run/x"),                                       other("unix:/run/x")),
        ("setsockopt", [3, socket[0], socket[1], 0, 0, 0], ["", ""],      vec![], other("SO_MARK")),
        ("getpid",     [0; 6],               ["", ""],            vec![], None),
    ];
    for (name, arguments, texts, bytes, want) in rows {
        assert_eq!(target(name, &call(arguments, texts, &bytes)), want, "{name}");
    }
    // The registers of a 32-bit program are others.
    let mut compat = call([1, 0, 0, 0, 0, 0], ["a", ""], &[]);
    compat.is_compat = true;
    assert_eq!(target("chown", &compat), None);
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn names() {
    assert_eq!(name(libc::SYS_openat), Some("openat"));
    assert_eq!(name(-1), None);
}
