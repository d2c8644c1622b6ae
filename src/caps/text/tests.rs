use proptest::prelude::*;

use super::*;

const NAMED: CapSet = CapSet::NAMED;

fn state(effective: u64, permitted: u64, inheritable: u64) -> CapState {
    let set = CapSet::from_bits;
    CapState { effective: set(effective), permitted: set(permitted), inheritable: set(inheritable) }
}

/// Texts and their meaning in libcap 2.76, in its notation.
#[test]
fn parse() {
    #[rustfmt::skip]
    let rows = [
        // Empty text is the empty set.
        ("",                              "="),
        (" \t\n\u{b}\u{c}\r",             "="),
        ("=",                             "="),
        ("cap_chown=",                    "="),
        // Without a list: every capability that the kernel supports.
        ("=ep",                           "=ep"),
        ("=pie",                          "=eip"),
        ("all=p",                         "=p"),
        ("ALL=e",                         "=e"),
        ("all=e+p-e",                     "=p"),
        ("all,cap_chown=ep",              "=ep"),
        // Names and numbers.
        ("cap_chown=ep",                  "cap_chown=ep"),
        ("CAP_Chown=ep",                  "cap_chown=ep"),
        ("0=ep",                          "cap_chown=ep"),
        ("0x1=p",                         "cap_dac_override=p"),
        ("010=p",                         "cap_setpcap=p"),
        ("cap_net_raw,cap_net_admin=eip", "cap_net_admin,cap_net_raw=eip"),
        ("cap_chown,cap_chown=pp",        "cap_chown=p"),
        ("41=ep",                         "= 41+ep"),
        ("63=i",                          "= 63+i"),
        // Operators.
        ("cap_chown+p",                   "cap_chown=p"),
        ("cap_chown-p",                   "="),
        ("cap_chown=+ep",                 "cap_chown=ep"),
        ("cap_chown=ep cap_chown=-i",     "="),
        ("cap_chown=ep+i-e",              "cap_chown=ip"),
        ("cap_chown=+e+p-e",              "cap_chown=p"),
        ("cap_chown=p-p",                 "="),
        ("cap_chown-e+p",                 "cap_chown=p"),
        // Clauses from left to right.
        ("=ep cap_sys_admin-ep",          "=ep cap_sys_admin-ep"),
        ("cap_chown=i cap_setpcap+p",     "cap_chown=i cap_setpcap+p"),
        ("\ncap_kill=p\n\ncap_chown=e",   "cap_kill=p cap_chown+e"),
        ("41=ep =",                       "= 41+ep"), // "all" is what the kernel supports
        ("cap_kill=p =",                  "="),
        ("=eip 50+i",                     "=eip 50+i"),
    ];
    for (text, want) in rows {
        let got = CapState::parse(text, NAMED).map(|state| state.to_text(NAMED).to_string());
        assert_eq!(got.as_deref(), Ok(want), "input {text:?}");
    }
}

#[test]
fn parse_errors() {
    const CAPABILITY: &str = ParseError::CAPABILITY;
    const OPERATOR: &str = "one of the operators =, + and -";
    const FLAG: &str = "one of the flags e, i and p";
    const END: &str = "one of the flags e, i and p, or white space";
    #[rustfmt::skip]
    let rows = [
        ("chown=ep",               0, CAPABILITY),
        ("cap_chown=p kill=p",    12, CAPABILITY),
        ("64=ep",                  0, CAPABILITY),
        ("08=ep",                  0, CAPABILITY),
        ("4294967296=ep",          0, CAPABILITY),
        ("cap_chown2=ep",          0, CAPABILITY),
        ("allx=p",                 0, CAPABILITY),
        ("cap_chown,=p",          10, CAPABILITY),
        (",cap_chown=p",           0, CAPABILITY),
        ("cap_chown, cap_kill=p", 10, CAPABILITY),
        ("+ep",                    0, CAPABILITY),
        ("-e",                     0, CAPABILITY),
        ("cap_ch\u{f6}wn=p",       0, CAPABILITY),
        ("\u{a0}=p",               0, CAPABILITY),
        ("cap_chown",              9, OPERATOR),
        ("all",                    3, OPERATOR),
        ("cap_chown =p",           9, OPERATOR),
        ("cap_chown+",            10, FLAG),
        ("cap_chown=+",           11, FLAG),
        ("cap_chown=-",           11, FLAG),
        ("cap_chown=p+",          12, FLAG),
        ("cap_chown+x",           10, FLAG),
        ("cap_chown+P",           10, FLAG),
        ("cap_chown+e=p",         11, END),
        ("cap_chown=ep=",         12, END),
        ("cap_chown==p",          10, END),
        ("cap_chown=p,cap_kill=i", 11, END),
        ("cap_chown=px",          11, END),
        ("=+ep",                   1, END),
        ("=-e",                    1, END),
        ("=e+p",                   2, END),
        ("=p\u{e9}",               2, END),
    ];
    for (text, offset, expected) in rows {
        let want = Err(ParseError::new(text, offset, expected));
        assert_eq!(CapState::parse(text, NAMED), want, "input {text:?}");
    }
}

/// The same bits on kernels with different capability counts.
#[test]
fn to_text() {
    let full = NAMED.bits();
    #[rustfmt::skip]
    let rows = [
        (41, state(0, 0, 0),              "="),
        (41, state(full, full, 0),        "=ep"),
        (41, state(1, 1, 0),              "cap_chown=ep"),
        (41, state(1, 1 << 3, 1 << 5),    "cap_kill=i cap_fowner+p cap_chown+e"),
        (41, state(full & !1, full, 0),   "=ep cap_chown-e"),
        (41, state(full & !0x21, full & !1, 0), "=ep cap_kill-e cap_chown-ep"),
        (41, state(0, full & !(1 << 8), 1 << 8), "=p cap_setpcap+i-p"),
        (41, state(3 << 12, 3 << 12 | 1 << 5, 3 << 12), "cap_net_admin,cap_net_raw=eip cap_kill+p"),
        (41, state(full, full, full | 1 << 50), "=eip 50+i"),
        (41, state(1 << 41, 1 << 41, 0),  "= 41+ep"),
        (41, state(!0, !0, 0),            "=ep 41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63+ep"),
        (64, state(!0, !0, 0),            "=ep"),
        (38, state(full, full, 0),        "=ep cap_perfmon,cap_bpf,cap_checkpoint_restore+ep"),
        (38, state(1 << 40, 0, 1 << 39),  "= cap_bpf+i cap_checkpoint_restore+e"),
        (2,  state(0, 2, 0),              "cap_dac_override=p"), // a tie goes to less
        (2,  state(1, 2, 0),              "=e cap_dac_override+p-e"),
        (0,  state(1, 1, 0),              "= cap_chown+ep"),
    ];
    for (count, state, want) in rows {
        let all = CapSet::first(count);
        assert_eq!(state.to_text(all).to_string(), want, "{count} capabilities, {state:?}");
    }
}

fn any_set() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        Just(0),
        Just(NAMED.bits()),
        (0u8..64).prop_map(|n| 1 << n),
        (0u8..64).prop_map(|n| NAMED.bits() ^ 1 << n),
    ]
}

fn any_state() -> impl Strategy<Value = CapState> {
    (any_set(), any_set(), any_set()).prop_map(|(e, p, i)| state(e, p, i))
}

/// Generates texts that are almost valid.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("cap_chown"),
        Just("cap_net_raw"),
        Just("ALL"),
        Just("63"),
        Just("0x"),
        Just("64"),
        Just(","),
        Just("="),
        Just("+"),
        Just("-"),
        Just("e"),
        Just("i"),
        Just("p"),
        Just(" "),
        Just("\n"),
        Just("\u{e9}"),
        Just("\0"),
    ];
    prop_oneof![
        any::<String>(),
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 4096 }))]

    #[test]
    fn printing_and_parsing_are_inverse(state in any_state(), count in 0u8..=64) {
        let all = CapSet::first(count);
        let text = state.to_text(all).to_string();
        prop_assert_eq!(CapState::parse(&text, all), Ok(state), "{}", text);
    }

    #[test]
    fn no_text_panics_and_printing_is_canonical(text in any_text(), count in 0u8..=64) {
        let all = CapSet::first(count);
        match CapState::parse(&text, all) {
            Ok(state) => {
                let canonical = state.to_text(all).to_string();
                let again = CapState::parse(&canonical, all).unwrap();
                prop_assert_eq!(again.to_text(all).to_string(), canonical);
            }
            Err(err) => prop_assert!(text.is_char_boundary(err.offset())),
        }
    }
}
