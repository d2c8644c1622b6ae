//! Every pair of formats, with random settings.

use proptest::prelude::*;

use super::*;
use crate::{
    CapState,
    settings::{Context, Kind, User, caveats::gained, read_in},
};

/// Random settings that a process can have: what is ambient is permitted and inheritable.
fn settings() -> impl Strategy<Value = Settings> {
    let set = || prop_oneof![Just(0), any::<u64>(), (0..41_u32).prop_map(|bit| 1_u64 << bit)];
    let sets = (set(), set(), set(), set(), set());
    let users = ["", "0", "0:0", "7", "7:8", "65534:1"];
    let flags = (any::<bool>(), any::<bool>());
    (sets, proptest::sample::select(users.to_vec()), flags).prop_map(|(sets, user, flags)| {
        let set = |bits| CapSet::from_bits(bits) & CapSet::supported();
        let (bounding, permitted, effective) = (set(sets.0), set(sets.1), set(sets.2));
        let inheritable = set(sets.3);
        let is_noroot = flags.0 && sets.4 % 3 == 0;
        Settings {
            kind: Kind::Process,
            user: user.parse::<User>().map_or(Who::Anyone, Who::User),
            bounding,
            caps: CapState { effective: effective & permitted, permitted, inheritable },
            ambient: set(sets.4) & permitted & inheritable,
            no_new_privs: flags.1,
            securebits: if is_noroot { Securebits::NOROOT } else { Securebits::empty() },
            ..Settings::default()
        }
    })
}

/// Returns the settings that are read from what was written; `None` for a format without a reader.
fn again(format: Format, text: &str) -> Option<Settings> {
    let text = match format {
        Format::Docker | Format::Podman => format!("{} run {text} image", format.name()),
        Format::Setcap | Format::Label => return None,
        _ => text.to_owned(),
    };
    Some(
        read_in(&text, None, &Context::default())
            .unwrap_or_else(|err| panic!("{text}: {err}"))
            .remove(0),
    )
}

proptest! {
    /// A program that gets less from its file than in the source is a caveat of every format that
    /// describes a process.
    #[test]
    fn lost_file_capabilities_are_said(source in settings()) {
        let target = Target { service: Some("s".to_owned()), ..Target::default() };
        for format in Format::ALL.into_iter().filter(|format| format.class() != Class::File) {
            let Ok(fit) = fit(&source, format, &target) else { continue };
            let lost = gained(&source) - gained(&fit.settings);
            if lost.is_empty() || source.user.may_be_root() {
                continue;
            }
            let words = fit.caveats.concat();
            prop_assert!(
                words.contains("file capabilities") || words.contains("and files get nothing"),
                "{}: {lost}: {words}", format.name()
            );
        }
    }

    /// Reading a written file grants nothing more, and so does a second conversion.
    #[test]
    fn no_pair_of_formats_widens(source in settings()) {
        let target = Target { service: Some("s".to_owned()), ..Target::default() };
        for first in Format::ALL {
            let Ok(written) = first.export(&source, &target) else { continue };
            let Some(middle) = again(first, &written.text) else { continue };
            prop_assert_eq!(wider(&middle, &source), None, "{}: {}", first.name(), written.text);
            for second in Format::ALL {
                let Ok(written) = second.export(&middle, &target) else { continue };
                let Some(last) = again(second, &written.text) else { continue };
                prop_assert_eq!(
                    wider(&last, &source), None,
                    "{} {}: {}", first.name(), second.name(), written.text
                );
            }
        }
    }
}
