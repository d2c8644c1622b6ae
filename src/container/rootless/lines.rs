//! The changes as lines of a Dockerfile.

use crate::{
    rootless::{Account, Change},
    settings::shell_word,
};

/// The image on which a Dockerfile is based.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The image.
    pub(super) image: String,
    /// Whether the image has a user other than root.
    pub(super) has_user: bool,
    pub(super) is_podman: bool,
}

/// Returns the lines of a Dockerfile with these changes, if any of them is one of the image. `label`
/// is one for all steps.
pub(super) fn dockerfile(
    base: &Base,
    account: &Account,
    user: &str,
    changes: &[&Change],
    label: Option<&str>,
) -> Option<String> {
    let commands = commands(account, changes, base.is_podman);
    if commands.is_empty() {
        return None;
    }
    let mut lines = vec![format!("FROM {}", base.image)];
    lines.extend(label.map(|label| format!("LABEL {label}")));
    lines.extend(base.has_user.then(|| "USER root".to_owned()));
    lines.push(format!("RUN {}", commands.join(" && ")));
    lines.push(format!("USER {user}"));
    Some(lines.join("\n") + "\n")
}

/// Returns the shell commands that change the files of an image.
fn commands(account: &Account, changes: &[&Change], is_podman: bool) -> Vec<String> {
    let mut made = [Vec::new(), Vec::new()];
    let mut owned = [Vec::new(), Vec::new()];
    let mut capable = Vec::new();
    for change in changes {
        match change {
            Change::Own { path, is_recursive } => {
                owned[usize::from(*is_recursive)].push(shell_word(path));
            }
            Change::Create { path, is_directory } => {
                made[usize::from(*is_directory)].push(shell_word(path));
                owned[0].push(shell_word(path));
            }
            // Podman makes capabilities ambient.
            Change::Capability { cap, program } if !is_podman => {
                capable.push(format!("setcap {cap}=ep {}", shell_word(program)));
            }
            _ => {}
        }
    }
    let Account { uid, gid, .. } = account;
    let lists = [
        ("touch".to_owned(), &made[0]),
        ("mkdir -p".to_owned(), &made[1]),
        (format!("chown {uid}:{gid}"), &owned[0]),
        (format!("chown -R {uid}:{gid}"), &owned[1]),
    ];
    let filled = lists.into_iter().filter(|(_, paths)| !paths.is_empty());
    let commands = filled.map(|(command, paths)| format!("{command} {}", paths.join(" ")));
    commands.chain(capable).collect()
}

/// Returns the name of the image with the changes: `web:1-rootless` for `web:1`.
pub(super) fn derived(image: &str) -> String {
    let image = image.split('@').next().unwrap_or(image);
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains(':') { format!("{image}-rootless") } else { format!("{image}:rootless") }
}

/// Returns the name for a volume on a directory: `db-data` for `db:1` and `/var/lib/data`.
pub(super) fn volume(image: &str, path: &str) -> String {
    let last = |text: &str| text.rsplit('/').find(|part| !part.is_empty()).map(str::to_owned);
    let image = last(image.split('@').next().unwrap_or(image)).unwrap_or_default();
    let image = image.split(':').next().unwrap_or_default().to_owned();
    let name = format!("{image}-{}", last(path).unwrap_or_default());
    let is_valid = |char: &char| char.is_ascii_alphanumeric() || "_.-".contains(*char);
    name.chars().filter(is_valid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cap;

    #[test]
    fn lines_of_a_dockerfile() {
        let account = Account { name: None, uid: 33, gid: 34 };
        let own = |path: &str, is_recursive| Change::Own { path: path.to_owned(), is_recursive };
        let create =
            |path: &str, is_directory| Change::Create { path: path.to_owned(), is_directory };
        let cap = Change::Capability { cap: Cap::NET_RAW, program: "/bin/ping".to_owned() };
        let changes = [
            own("/etc/key", false),
            own("/a b", true),
            create("/var/log/x", false),
            create("/var/lib/y", true),
            cap,
            Change::PORTS,
        ];
        let changes: Vec<&Change> = changes.iter().collect();
        let base = Base { image: "web:1".to_owned(), has_user: true, is_podman: false };
        let text = dockerfile(&base, &account, "33", &changes, Some("l=1"));
        let want = "FROM web:1\nLABEL l=1\nUSER root\n\
            RUN touch /var/log/x && mkdir -p /var/lib/y \
            && chown 33:34 /etc/key /var/log/x /var/lib/y && chown -R 33:34 '/a b' \
            && setcap cap_net_raw=ep /bin/ping\nUSER 33\n";
        assert_eq!(text.as_deref(), Some(want));
        let base = Base { has_user: false, is_podman: true, ..base };
        let text = dockerfile(&base, &account, "33", &changes[..1], None);
        assert_eq!(text.as_deref(), Some("FROM web:1\nRUN chown 33:34 /etc/key\nUSER 33\n"));
        assert_eq!(dockerfile(&base, &account, "33", &changes[4..], None), None);
    }

    #[test]
    fn names() {
        let rows = [
            ("web", "web:rootless", "web-data"),
            ("web:1", "web:1-rootless", "web-data"),
            ("host:5000/a/web", "host:5000/a/web:rootless", "web-data"),
            ("web@sha256:0f", "web:rootless", "web-data"),
            ("web:1@sha256:0f", "web:1-rootless", "web-data"),
        ];
        for (image, want, named) in rows {
            assert_eq!(derived(image), want);
            assert_eq!(volume(image, "/var/lib/data/"), named);
        }
    }
}
