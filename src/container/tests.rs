use std::{collections::BTreeMap, ffi::OsString};

use super::{Client, Delegation, Edits, Invocation};
use crate::{
    Cap, CapSet,
    rootless::{Account, Change},
};

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[test]
fn delegations() {
    #[rustfmt::skip]
    let rows = [
        ("docker run --rm web:1",                    Some((Client::Docker,     "docker run",        "--rm web:1"))),
        ("docker container run web:1",               Some((Client::Docker,     "docker container run", "web:1"))),
        ("/usr/bin/docker -H unix:///s run web",     Some((Client::Docker,     "docker run",        "web"))),
        ("sudo docker create web",                   Some((Client::Docker,     "docker create",     "web"))),
        ("env A=b docker run web",                   Some((Client::Docker,     "docker run",        "web"))),
        ("docker compose -f c.yaml up -d",           Some((Client::Compose,    "docker compose up", "-d"))),
        ("docker-compose -p x run --rm web",         Some((Client::Compose,    "docker-compose run", "--rm web"))),
        ("podman --root /r run x",                   Some((Client::Podman,     "podman run",        "x"))),
        ("podman kube play p.yaml",                  Some((Client::Podman,     "podman kube play",  "p.yaml"))),
        ("nerdctl -n k8s.io run x",                  Some((Client::Nerdctl,    "nerdctl run",       "x"))),
        ("runc --root /r run c",                     Some((Client::Runtime,    "runc run",          "c"))),
        ("systemctl restart nginx",                  Some((Client::Systemctl,  "systemctl restart", "nginx"))),
        ("systemd-run -p A=b --wait id",             Some((Client::SystemdRun, "systemd-run",       "id"))),
        ("kubectl -n a apply -f x",                  Some((Client::Kubectl,    "kubectl apply",     "-f x"))),
        ("docker ps",                                None),
        ("docker",                                   None),
        ("docker inspect run",                       None),
        ("systemctl status x",                       None),
        ("ls docker run",                            None),
        ("echo docker",                              None),
    ];
    for (text, want) in rows {
        let got = Delegation::of(&words(text));
        let got = got.as_ref().map(|one| (one.client, &*one.name, one.after.join(" ")));
        let want = want.map(|(client, name, after)| (client, name, after.to_owned()));
        assert_eq!(got, want, "{text}");
    }
}

#[test]
fn engines_on_other_machines() {
    let remote = |text: &str| Delegation::of(&words(text)).unwrap().remote().map(str::to_owned);
    assert_eq!(remote("docker -H tcp://a:1 run x").as_deref(), Some("tcp://a:1"));
    assert_eq!(remote("docker --host=ssh://a run x").as_deref(), Some("ssh://a"));
    assert_eq!(remote("docker --context far run x").as_deref(), Some("far"));
    for text in ["docker run x", "docker -H unix:///s run x", "docker --context default run -H t x"]
    {
        assert_eq!(remote(text), None, "{text}");
    }
}

fn invocation(text: &str) -> Invocation {
    Invocation::new(&Delegation::of(&words(text)).unwrap()).unwrap()
}

#[test]
fn the_command_line_to_paste() {
    #[rustfmt::skip]
    let rows = [
        ("docker run --rm web",                                "docker run --rm --cap-drop ALL --cap-add KILL web"),
        ("docker run -it --cap-add=CHOWN web a b",             "docker run -it --cap-drop ALL --cap-add KILL web a b"),
        ("docker run --cap-drop all -p 80:80 --cap-add x web", "docker run -p 80:80 --cap-drop ALL --cap-add KILL web"),
        ("docker run --privileged -- web --cap-add x",         "docker run --cap-drop ALL --cap-add KILL -- web --cap-add x"),
        ("docker -H unix:///s create web",                     "docker -H unix:///s create --cap-drop ALL --cap-add KILL web"),
    ];
    for (text, want) in rows {
        assert_eq!(invocation(text).with_caps(Cap::KILL.into()), want);
    }
}

#[test]
fn the_arguments_of_a_run() {
    let volumes = [("data".to_owned(), "copy".to_owned())].into();
    #[rustfmt::skip]
    let rows = [
        ("docker run --rm -dit -p 80:80 web",           "--publish=80:80 |web"),
        ("docker run --tty -v data:/d -v /a:/b web c",  "--tty --volume=copy:/d --volume=/a:/b |web c"),
        ("docker run --mount type=volume,source=data,target=/d web", "--mount=type=volume,source=copy,target=/d |web"),
        ("docker run --cidfile f --restart always --cap-drop ALL --privileged web", "|web"),
        ("docker run -e data:x web",                    "--env=data:x |web"),
    ];
    for (text, want) in rows {
        let got =
            invocation(text).create(Some(CapSet::empty()), "l", &volumes, false, None).join(" ");
        let want = want.replace('|', "--cap-drop ALL ");
        // A terminal would join both streams.
        assert_eq!(got, format!("create --label=l {want}").replace("--tty ", ""), "{text}");
    }
    let quick = invocation("docker run --health-interval 1h --health-cmd x web");
    let quick = quick.create(Some(CapSet::empty()), "l", &volumes, true, None).join(" ");
    assert_eq!(quick, "create --label=l --health-cmd=x --health-interval=1s --cap-drop ALL web");
}

#[test]
fn a_sysctl_in_the_place_of_its_own() {
    #[rustfmt::skip]
    let rows = [
        ("docker run web",                                "docker run --sysctl 'a.b=0' --cap-drop ALL web"),
        ("docker run --sysctl a.b=1 --rm -- web --sysctl x", "docker run --rm --sysctl 'a.b=0' --cap-drop ALL -- web --sysctl x"),
        ("docker run --sysctl=a.bc=1 web",                "docker run '--sysctl=a.bc=1' --sysctl 'a.b=0' --cap-drop ALL web"),
    ];
    for (text, want) in rows {
        let changed = invocation(text).with_sysctl("a.b", "0").unwrap();
        assert_eq!(changed.with_caps(CapSet::empty()), want);
    }
}

#[test]
fn the_own_options_of_a_container() {
    let own = invocation("docker run -d --cap-drop ALL --cap-add KILL --privileged web");
    let own = own.create(None, "l", &BTreeMap::new(), false, None).join(" ");
    assert_eq!(own, "create --label=l --cap-drop=ALL --cap-add=KILL --privileged web");
}

#[test]
fn the_largest_set() {
    let docker = crate::settings::Profile::Docker.given() & CapSet::supported();
    assert_eq!(invocation("docker run --cap-drop ALL web").most().unwrap(), docker);
    let more = invocation("docker run --cap-add NET_ADMIN web").most().unwrap();
    assert_eq!(more, docker | CapSet::from(Cap::NET_ADMIN));
    for all in ["--privileged", "--cap-add ALL"] {
        let most = invocation(&format!("docker run {all} web")).most().unwrap();
        assert_eq!(most, CapSet::supported());
    }
    assert!(invocation("docker run --cap-add x web").most().is_err());
}

/// The settings of runs with a tmpfs, a sysctl, a variable, a volume and another command.
fn edits(image: Option<&str>) -> Edits {
    let account = Account { name: None, uid: 33, gid: 34 };
    let changes = [
        Change::Tmpfs { path: "/run".to_owned() },
        Change::PORTS,
        Change::Variable { name: "SKIP".to_owned() },
        Change::Volume { path: "/data".to_owned(), name: None },
        Change::NoEntrypoint,
        Change::Own { path: "/etc/key".to_owned(), is_recursive: false },
    ];
    let changes: Vec<&Change> = changes.iter().collect();
    let command = ["serve".to_owned(), "-x".to_owned()];
    let volume = |_: &str, _: Option<&str>| "vol".to_owned();
    let mut edits = Edits::new(&account, "33", &changes, &command, false, volume);
    edits.image = image.map(str::to_owned);
    edits
}

/// A volume for each directory, and a command in which Compose finds no variables.
#[test]
fn new_volumes_and_variables() {
    let account = Account { name: None, uid: 33, gid: 34 };
    let volume = |path: &str, name: Option<&str>| Change::Volume {
        path: path.to_owned(),
        name: name.map(str::to_owned),
    };
    let changes = [
        volume("/a/data", None),
        volume("/b/data", None),
        volume("/c", Some("own")),
        volume("/d", Some("own")),
        Change::NoEntrypoint,
    ];
    let changes: Vec<&Change> = changes.iter().collect();
    let command = ["sh", "-c", "exec app $PORT"].map(str::to_owned);
    let name = |_: &str, name: Option<&str>| name.unwrap_or("app-data").to_owned();
    let edits = Edits::new(&account, "33", &changes, &command, false, name);
    let names: Vec<&str> = edits.volumes.values().map(String::as_str).collect();
    assert_eq!(names, ["app-data", "app-data-2", "own", "own"]);
    let keys = edits.service();
    assert_eq!(keys["entrypoint"], serde_json::json!(["sh"]));
    assert_eq!(keys["command"], serde_json::json!(["-c", "exec app $$PORT"]));
}

#[test]
fn the_command_line_of_another_user() {
    let want = "--cap-drop ALL --user 33 --security-opt no-new-privileges \
        --tmpfs '/run:uid=33,gid=34,mode=0755' \
        --sysctl 'net.ipv4.ip_unprivileged_port_start=0' --env 'SKIP=1' \
        --volume vol:/data:nocopy --entrypoint serve new -x";
    #[rustfmt::skip]
    let rows = [
        ("docker run web a b",                                       "docker run"),
        ("docker run --rm -du 0 -p 80:80 --privileged web",          "docker run --rm -p 80:80 --detach"),
        ("docker run --user=root --entrypoint x -v d:/data:ro web",  "docker run"),
        ("docker run -v /data -v /data/x -e SKIP -e A=b web",        "docker run -v /data/x -e 'A=b'"),
        ("docker run --tmpfs /run --tmpfs /run/x --sysctl net.ipv4.ip_unprivileged_port_start=9 web",
         "docker run --tmpfs /run/x"),
        ("docker run --mount type=volume,source=d,target=/data web", "docker run"),
        ("docker run --security-opt no-new-privileges:false --security-opt label=x web",
         "docker run --security-opt 'label=x'"),
    ];
    for (text, before) in rows {
        let line = invocation(text).with_edits(&edits(Some("new")));
        assert_eq!(line, format!("{before} {want}"), "{text}");
    }
    let volumes = [("vol".to_owned(), "copy".to_owned())].into();
    let run = invocation("docker run --rm -u 0 -p 80:80 web a");
    let account = Account { name: None, uid: 33, gid: 34 };
    let tmpfs = Change::Tmpfs { path: "/run".to_owned() };
    let of_podman = Edits::new(&account, "33", &[&tmpfs], &[], true, |_, _| String::new());
    let line = invocation("podman run web").with_edits(&of_podman);
    assert!(line.contains(" --tmpfs '/run:U,mode=0755' web"), "{line}");
    let words = run.create(Some(CapSet::empty()), "l", &volumes, false, Some(&edits(None)));
    let want = want.replace('\'', "").replace("vol:", "copy:").replace(" new ", " web ");
    assert_eq!(words.join(" "), format!("create --label=l --publish=80:80 {want}"));
}
