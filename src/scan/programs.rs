//! Programs that do whatever their caller tells them, so that a capability on one of them is a
//! capability of the caller.

/// The kind of a program that runs what it is told, or reads and writes where it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Shell,
    Interpreter,
    Debugger,
    Archiver,
    Editor,
    Launcher,
}

impl Role {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Role::Shell => "a shell",
            Role::Interpreter => "an interpreter",
            Role::Debugger => "a debugger",
            Role::Archiver => "a program that copies or packs files",
            Role::Editor => "an editor or pager",
            Role::Launcher => "a program that runs other programs",
        }
    }
}

#[rustfmt::skip]
const PROGRAMS: &[(Role, &str)] = &[
    (Role::Shell, "sh bash rbash dash ash zsh ksh mksh fish csh tcsh busybox toybox"),
    (Role::Interpreter,
     "python pypy perl ruby irb node nodejs deno bun php lua luajit tclsh wish expect guile java \
      jshell awk gawk mawk nawk rscript r julia octave erl elixir ghci ocaml mono dotnet"),
    (Role::Debugger, "gdb gdbserver lldb strace ltrace perf bpftrace bcc"),
    (Role::Archiver,
     "tar gtar bsdtar star cpio bsdcpio pax rsync zip unzip 7z 7za ar dd cp mv install ln tee scp \
      sftp curl wget openssl base64"),
    (Role::Editor, "vi vim nvim view vimdiff nano pico emacs ed sed less more most"),
    (Role::Launcher,
     "env xargs find nice ionice timeout nohup setsid stdbuf setpriv capsh unshare nsenter chroot \
      make git docker podman runc crun systemd-run screen tmux parallel watch script"),
];

/// Returns the role of a program of this name, without its version: `python3.11` is `python`.
pub(super) fn role(name: &[u8]) -> Option<Role> {
    let name = str::from_utf8(name).ok()?.to_ascii_lowercase();
    let base = name.find(|char: char| char.is_ascii_digit() || ".-_".contains(char));
    let is_one = |wanted: &str| {
        PROGRAMS.iter().find(|(_, names)| names.split(' ').any(|known| known == wanted))
    };
    let found = is_one(&name).or_else(|| {
        let base = &name[..base?];
        is_one(base).filter(|_| is_version(&name[base.len()..]))
    });
    found.map(|(role, _)| *role)
}

/// Returns whether the rest of a name is a version or a variant, such as `3.11`, `5.36.0`, `.basic`
/// or `-static`.
fn is_version(rest: &str) -> bool {
    let digits = rest.trim_start_matches(['-', '_']);
    let is_number = !digits.is_empty()
        && digits.starts_with(|char: char| char.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    is_number || [".basic", ".tiny", ".nox", "-static", ".exe"].contains(&rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        #[rustfmt::skip]
        let rows: &[(&str, Option<Role>)] = &[
            ("bash",          Some(Role::Shell)),
            ("python3.11",    Some(Role::Interpreter)),
            ("python3",       Some(Role::Interpreter)),
            ("perl5.36.0",    Some(Role::Interpreter)),
            ("Rscript",       Some(Role::Interpreter)),
            ("vim.basic",     Some(Role::Editor)),
            ("busybox-static", Some(Role::Shell)),
            ("7z",            Some(Role::Archiver)),
            ("systemd-run",   Some(Role::Launcher)),
            ("ping",          None),
            ("tar-split",     None),
            ("perlbal",       None),
            ("git-remote-x",  None),
            ("ssh-agent",     None),
            ("",              None),
            (".",             None),
        ];
        for (name, want) in rows {
            assert_eq!(role(name.as_bytes()), *want, "{name}");
        }
        assert_eq!(role(b"\xff"), None);
    }
}
