//! The sets of processes that were started, and random settings to start them with.

use rcap::{CapSet, CapState, bounding, exec::FileFacts, settings::Settings};

/// The sets of a process, and whether it has no_new_privs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) uid: String,
    pub(crate) inheritable: CapSet,
    pub(crate) permitted: CapSet,
    pub(crate) effective: CapSet,
    pub(crate) bounding: CapSet,
    pub(crate) ambient: CapSet,
    pub(crate) no_new_privs: bool,
}

impl Sets {
    /// Reads the text of /proc/PID/status.
    pub(crate) fn of_status(text: &str) -> Option<Sets> {
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = lines.find(|(key, _)| *key == name)?;
            Some(value.trim().to_owned())
        };
        let set = |name: &str| CapSet::from_mask(&field(name)?).ok();
        Some(Sets {
            uid: field("Uid")?.split_whitespace().next()?.to_owned(),
            inheritable: set("CapInh")?,
            permitted: set("CapPrm")?,
            effective: set("CapEff")?,
            bounding: set("CapBnd")?,
            ambient: set("CapAmb")?,
            no_new_privs: field("NoNewPrivs")? == "1",
        })
    }

    /// Returns those of an ordinary program with these settings, on a machine that has no more
    /// than this process.
    pub(crate) fn expected(settings: &Settings) -> Sets {
        Sets::expected_of(settings, &FileFacts::default())
    }

    /// Returns those of a program in this file.
    pub(crate) fn expected_of(settings: &Settings, file: &FileFacts) -> Sets {
        let after = settings.execute(file).unwrap().after;
        let most = bounding::current().unwrap();
        let CapState { effective, permitted, inheritable } = after.caps;
        Sets {
            uid: after.uid.effective.to_string(),
            inheritable: inheritable & most,
            permitted: permitted & most,
            effective: effective & most,
            bounding: after.bounding & most,
            ambient: after.ambient & most,
            no_new_privs: after.no_new_privs,
        }
    }

    /// Returns the same sets for the user of `other`.
    pub(crate) fn with_uid(self, other: &Sets) -> Sets {
        Sets { uid: other.uid.clone(), ..self }
    }

    /// Returns the differences from other sets, in words.
    pub(crate) fn differences(&self, other: &Sets) -> String {
        let sets = |sets: &Sets| {
            [sets.inheritable, sets.permitted, sets.effective, sets.bounding, sets.ambient]
        };
        let names = ["inheritable", "permitted", "effective", "bounding", "ambient"];
        let pairs = names.into_iter().zip(sets(self).into_iter().zip(sets(other)));
        let mut words: Vec<String> = pairs
            .filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(name, (ours, theirs))| {
                format!("{name} has {}, lacks {}", ours - theirs, theirs - ours)
            })
            .collect();
        if self.no_new_privs != other.no_new_privs {
            words.push(format!("no_new_privs is {}", self.no_new_privs));
        }
        words.join("; ")
    }

    /// Panics unless every set is within the other one's, the user is the same, and no_new_privs
    /// is kept.
    #[track_caller]
    pub(crate) fn assert_within(&self, source: &Sets, context: &str) {
        assert_eq!(self.uid, source.uid, "{context}");
        for (name, ours, theirs) in [
            ("inheritable", self.inheritable, source.inheritable),
            ("permitted", self.permitted, source.permitted),
            ("effective", self.effective, source.effective),
            ("bounding", self.bounding, source.bounding),
            ("ambient", self.ambient, source.ambient),
        ] {
            assert!(ours.is_subset(theirs), "{name} has {} too: {context}", ours - theirs);
        }
        assert!(self.no_new_privs || !source.no_new_privs, "{context}");
    }
}

/// A sequence of numbers that is the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    pub(crate) fn set(&mut self) -> CapSet {
        let most = bounding::current().unwrap();
        let chosen = match self.below(4) {
            0 => CapSet::empty(),
            1 => CapSet::from_bits(1 << self.below(41)) | CapSet::from_bits(1 << self.below(41)),
            2 => CapSet::from_bits(u64::MAX >> self.below(64)),
            _ => CapSet::from_bits(self.0 ^ (self.0 << 17)),
        };
        chosen & most
    }
}

/// A random command of setpriv, which can be started.
pub(crate) fn random_setpriv(numbers: &mut Numbers) -> String {
    let bounding = numbers.set();
    let ambient = if numbers.below(2) == 0 { CapSet::empty() } else { numbers.set() & bounding };
    let inheritable = ambient | if numbers.below(3) == 0 { numbers.set() } else { ambient };
    let list = |caps: CapSet| {
        let names =
            caps.iter().map(|cap| format!(",+{}", cap.to_string().trim_start_matches("cap_")));
        format!("-all{}", names.collect::<String>())
    };
    let user = [None, Some("0"), Some("1000"), Some("65534")][numbers.below(4)];
    let user =
        user.map_or(String::new(), |user| format!(" --reuid={user} --regid={user} --clear-groups"));
    let [inheritable, ambient, bounding] = [inheritable & bounding, ambient, bounding].map(list);
    let mut line = format!(
        "setpriv{user} --inh-caps={inheritable} --ambient-caps={ambient} --bounding-set={bounding}"
    );
    if numbers.below(5) == 0 {
        line += " --securebits=+noroot";
    }
    if numbers.below(2) == 0 {
        line += " --no-new-privs";
    }
    line
}
