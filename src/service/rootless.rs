//! A service that runs with some changes, and the search with it.

use std::{
    cmp::Reverse,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Group, Uid, User};

use super::{
    Facts, Failed, Session,
    copies::Copies,
    scratch::DIRECTORIES,
    trial::{keeps_user, require_settings},
    writable::word,
};
use crate::{
    CapSet,
    rootless::{
        Account, Answer, Change, Changes, Files, Ground, Outcome, Place, Runs, Tried, all_remedies,
        become_user, chosen, failure,
    },
    settings::{shell_word, unit_lines, unit_words},
    trace::{Analysis, minimize::End},
};

/// The lines that make the changes of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnitLines {
    /// The lines of the section `[Service]`.
    pub settings: Vec<String>,
    /// The command that gives files of the machine to the user, once.
    pub command: Option<String>,
    /// The lines of a file for systemd-tmpfiles(8), which creates files whenever the machine starts.
    pub tmpfiles: Option<String>,
}

/// The search for the changes with which a service works without capabilities.
///
/// In a run, files that change are copies in the unit's mount namespace, so those of the machine stay
/// as they are.
#[expect(missing_debug_implementations, reason = "a session contains a closure")]
pub struct Rootless {
    session: Session,
    account: Account,
    /// The settings that select the user, unless the unit has them.
    user: Vec<String>,
    origin: &'static str,
    files: Files,
    expect: i32,
    limit: Duration,
    /// The checks of the last run.
    last: Analysis,
}

impl Rootless {
    /// Runs the unit as it is, and chooses the user: `user`, by name or number, or else the unit's own
    /// if that is not root, or else the one that its processes become. Returns `None` if the run was
    /// interrupted.
    ///
    /// # Errors
    ///
    /// It does not work as it is, has no user but root or a root directory of its own, or cannot be
    /// recorded.
    pub fn new(
        mut session: Session,
        user: Option<&str>,
        expect: i32,
        timeout: Option<Duration>,
    ) -> Result<Option<Rootless>, Failed> {
        let unfit = |words: &str| Failed::Unfit(words.to_owned());
        if !session.is_recorded() {
            return Err(unfit("its control group cannot be recorded, so refusals are not known"));
        }
        let facts = session.before().clone();
        require_settings(&facts)?;
        if keeps_user(&facts) {
            let words =
                "ExecStart=! runs the program as root, whatever User= is: remove the ! first";
            return Err(unfit(words));
        }
        if ["RootDirectory", "RootImage"].iter().any(|key| !facts.get(key).is_empty()) {
            return Err(unfit("it has a root directory of its own"));
        }
        let is_dynamic = facts.get("DynamicUser") == "yes";
        if is_dynamic && user.is_some() {
            return Err(unfit("it has a user of its own (DynamicUser=): leave --user out"));
        }
        let root = File::open("/").map_err(|err| unfit(&err.to_string()))?;
        let begun = Instant::now();
        let seen = session.run(&[], timeout)?;
        if seen.end == End::Interrupted {
            return Ok(None);
        }
        if let Some(failure) = failure(&seen, expect) {
            return Err(Failed::Unfit(format!("with its own settings, {failure}")));
        }
        let longest = begun.elapsed().saturating_mul(10).saturating_add(Duration::from_secs(5));
        let own = facts.get("User");
        let chosen = match (user, is_dynamic) {
            (Some(user), _) => Some((user.to_owned(), "the user of --user")),
            (None, true) => become_user(&seen).map(|uid| (uid.to_string(), "its own user")),
            (None, false) => chosen(Some(own).filter(|user| !is_root(user)), &seen),
        };
        let none = "it has no user but root: create one with `useradd --system`, and name it with \
                    --user";
        let (name, origin) = chosen.ok_or_else(|| unfit(none))?;
        let is_own = is_dynamic || name == own;
        let account = if is_dynamic { dynamic(&name) } else { account(&name, facts.get("Group")) };
        let account = account.ok_or_else(|| {
            let words = "has no entry in /etc/passwd, which systemd requires: create one with \
                         `useradd --system`, and name it with --user";
            Failed::Unfit(format!("the user {name} {words}"))
        })?;
        if account.uid == 0 {
            return Err(unfit("the user of --user is root"));
        }
        if !is_own {
            require_directories(&facts, &account)?;
        }
        let name = account.name.as_deref().unwrap_or(&name);
        let user = if is_own { Vec::new() } else { vec![format!("User={name}")] };
        Ok(Some(Rootless {
            session,
            account,
            user,
            origin,
            files: Files::new(root.into()),
            expect,
            limit: timeout.unwrap_or(longest),
            last: Analysis::default(),
        }))
    }

    /// Returns the user.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Searches for the smallest set of changes with which the service works as the user, without
    /// capabilities and with no-new-privileges. Returns `None` if the user has interrupted it.
    ///
    /// `progress` is told of each run.
    ///
    /// # Errors
    ///
    /// The unit could not be run or observed. One that fails is an answer.
    pub fn search(
        &mut self,
        progress: &mut dyn FnMut(usize, &Tried),
    ) -> Result<Option<Answer<UnitLines>>, Failed> {
        let runs = Runs::search(|changes| self.attempt(changes), progress)?;
        let Some(runs) = runs else { return Ok(None) };
        let lines = |changes: &[&Change]| UnitLines {
            settings: self.settings(changes),
            command: command(&self.account, changes),
            tmpfiles: tmpfiles(&self.account, changes),
        };
        let answer =
            self.with_ground(&[], |ground| runs.answer(self.origin, &self.last, ground, lines));
        Ok(Some(answer))
    }

    /// Returns the session, which restores the unit when it is dropped.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// Runs the unit with these changes. An error without a reason is an interruption.
    fn attempt(&mut self, changes: &Changes) -> Result<Outcome, Option<Failed>> {
        let changes: Vec<&Change> = changes.iter().collect();
        let unit = self.session.before().clone();
        let mut settings = self.settings(&changes);
        let pulse = &mut || {
            let is_cancelled = self.session.is_cancelled();
            if is_cancelled { Err(None) } else { self.session.renew().map_err(Some) }
        };
        let copies = Copies::make(unit.id(), &changes, &self.account, pulse)?;
        settings.extend(copies.lines(unit.get("PIDFile")));
        self.session.replace_check(|check| copies.check(check));
        let seen = self.session.run(&settings, Some(self.limit))?;
        drop(copies);
        if seen.end == End::Interrupted {
            return Err(None);
        }
        let failure = failure(&seen, self.expect);
        let remedies = match failure {
            Some(_) => {
                self.with_ground(&changes, |ground| all_remedies(&seen.analysis.denials, ground))
            }
            None => Vec::new(),
        };
        self.last = seen.analysis;
        Ok(Outcome { failure, remedies })
    }

    fn with_ground<T>(&self, changes: &[&Change], of: impl FnOnce(&Ground<'_>) -> T) -> T {
        of(&Ground {
            account: &self.account,
            changes,
            find: &|path| self.files.find(path),
            resolve: &|path| self.files.resolve(path),
            place: Place::Service {
                unit: self.session.before().id(),
                group: &group,
                is_all_of_root: &|path| self.files.is_all_of_root(path),
            },
        })
    }

    /// Returns the settings of a unit with these changes.
    fn settings(&self, changes: &[&Change]) -> Vec<String> {
        let (mut caps, mut lines) = (CapSet::empty(), self.user.clone());
        for change in changes {
            match change {
                Change::Capability { cap, .. } => caps |= CapSet::from(*cap),
                Change::Group { name } => lines.push(format!("SupplementaryGroups={name}")),
                _ => {}
            }
        }
        lines.extend(unit_lines("CapabilityBoundingSet", caps));
        lines.extend(unit_lines("AmbientCapabilities", caps));
        lines.push("NoNewPrivileges=yes".to_owned());
        lines
    }
}

fn is_root(user: &str) -> bool {
    ["", "root", "0"].contains(&user)
}

/// Returns the name of a group.
fn group(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
}

/// Returns the account of a user by name or number, with the setting `Group=`.
fn account(user: &str, group: &str) -> Option<Account> {
    let entry = match user.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(user),
    };
    let entry = entry.ok().flatten()?;
    let named = || Some(Group::from_name(group).ok()??.gid.as_raw());
    let gid = group.parse().ok().or_else(named).unwrap_or(entry.gid.as_raw());
    Some(Account { name: Some(entry.name), uid: entry.uid.as_raw(), gid })
}

/// Returns the account of a dynamic user, whose group has the same number.
fn dynamic(uid: &str) -> Option<Account> {
    let uid = uid.parse().ok()?;
    Some(Account { name: None, uid, gid: uid })
}

/// Returns an error if systemd would give directories of the unit to another user, with everything
/// below them. (systemd.exec(5), `StateDirectory=`)
fn require_directories(facts: &Facts, account: &Account) -> Result<(), Failed> {
    for (key, base) in DIRECTORIES {
        // One that is removed when the unit stops is created again.
        if key == "RuntimeDirectory" && facts.get("RuntimeDirectoryPreserve") == "no" {
            continue;
        }
        for name in unit_words(facts.get(key)).0 {
            // A symbolic link to it may follow.
            let path = Path::new(base).join(name.split(':').next().unwrap_or_default());
            let is_others = |metadata: fs::Metadata| metadata.uid() != account.uid;
            if fs::symlink_metadata(&path).is_ok_and(is_others) {
                let [user, _] = owner(account);
                let path = path.display();
                return Err(Failed::Unfit(format!(
                    "systemd would give {path} ({key}=) to {user}, with everything below it: set \
                     User={user} in the unit first"
                )));
            }
        }
    }
    Ok(())
}

/// Returns the user and the group of an account: by their names, if these are one word everywhere.
fn owner(account: &Account) -> [String; 2] {
    let Account { uid, gid, name } = account;
    let is_plain = |name: &String| {
        name.chars().all(|char| char.is_ascii_alphanumeric() || "_.-".contains(char))
            && !name.starts_with('-')
    };
    let names = [name.clone(), group(*gid)].map(|name| name.filter(is_plain));
    match names {
        [Some(user), Some(group)] => [user, group],
        _ => [uid.to_string(), gid.to_string()],
    }
}

/// Returns the command that changes the owner of files. An entry of a directory comes before the
/// directory, whose new owner could put a link in its place.
fn command(account: &Account, changes: &[&Change]) -> Option<String> {
    let owner = owner(account).join(":");
    let mut owned: Vec<(&str, bool)> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Own { path, is_recursive } => Some((&**path, *is_recursive)),
            _ => None,
        })
        .collect();
    owned.sort_by_key(|(path, _)| Reverse(Path::new(*path)));
    let same = owned.chunk_by(|one, other| one.1 == other.1);
    let commands: Vec<String> = same
        .map(|files| {
            let option = if files[0].1 { "-R -h" } else { "-h" };
            let paths: Vec<String> = files.iter().map(|(path, _)| shell_word(path)).collect();
            format!("chown {option} {owner} {}", paths.join(" "))
        })
        .collect();
    (!commands.is_empty()).then(|| commands.join(" && "))
}

/// Returns the lines of a file for systemd-tmpfiles(8). (tmpfiles.d(5))
fn tmpfiles(account: &Account, changes: &[&Change]) -> Option<String> {
    let owner = owner(account).join(" ");
    let lines = changes.iter().filter_map(|change| {
        let Change::Create { path, is_directory } = change else { return None };
        let (kind, mode) = if *is_directory { ("d", "0755") } else { ("f", "0644") };
        Some(format!("{kind} {} {mode} {owner}\n", word(path)))
    });
    Some(lines.collect::<String>()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let own = |path: &str, is_recursive| Change::Own { path: path.to_owned(), is_recursive };
        let create =
            |path: &str, is_directory| Change::Create { path: path.to_owned(), is_directory };
        let changes = [
            own("/srv/a b", false),
            own("/srv/a b/c", false),
            own("/srv/d", true),
            own("/srv/d/e", false),
            create("/run/e.pid", false),
            create("/run/f", true),
        ];
        let changes: Vec<&Change> = changes.iter().collect();
        let account = Account { name: None, uid: 65532, gid: 65532 };
        assert_eq!(
            command(&account, &changes).unwrap(),
            "chown -h 65532:65532 /srv/d/e && chown -R -h 65532:65532 /srv/d && \
             chown -h 65532:65532 '/srv/a b/c' '/srv/a b'"
        );
        assert_eq!(
            tmpfiles(&account, &changes).unwrap(),
            "f /run/e.pid 0644 65532 65532\nd /run/f 0755 65532 65532\n"
        );
        assert_eq!((command(&account, &[]), tmpfiles(&account, &[])), (None, None));
    }
}
